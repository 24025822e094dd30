"""How many positions a record takes in the model that will be trained, and what becomes of one too long.

Known before training, and counted as the model reads: with its tokenizer, its chat template, and what its
tower makes of each image.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unicodedata import is_normalized

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import AutoConfig, AutoTokenizer

from parrot.config import Model
from parrot.data.columns import Integers, Talks, as_bytes, count_in
from parrot.data.records import IMAGE_TOKEN, Message, count_images, messages_of
from parrot.data.rejects import Rejected
from parrot.errors import ParrotError
from parrot.model.chat_format import template_of
from parrot.model.chat_text import guard, texts_with_answers
from parrot.model.configuration_flamingo import FlamingoConfig
from parrot.model.configuration_parrot import ParrotConfig

_CONFIGS = {"parrot": ParrotConfig, "flamingo": FlamingoConfig}
_BETWEEN = "\n"
_SEAM = 8
"""Tokens that a turn may have more than its parts, because they are cut otherwise where they meet."""


class Ruler:
    """Measures conversations in positions of the language model, images included.

    Args:
        model: names the architecture.
        vision, language: folders of the backbones; no weights are read.

    Raises:
        ParrotError: a folder is missing or holds no such backbone, or the two do not go together.
    """

    def __init__(self, model: Model, vision: Path, language: Path) -> None:
        for folder in (vision, language):
            if not folder.is_dir():
                raise ParrotError(f"{folder}: not found; run the stage backbone first")
        try:
            config = _CONFIGS[model.architecture](
                vision_config=AutoConfig.from_pretrained(vision, trust_remote_code=False),
                text_config=AutoConfig.from_pretrained(language, trust_remote_code=False),
                vision_feature_layer=model.vision_feature_layer,
            )
            self._per_image: int = config.image_seq_length
            # ParrotProcessor would do the same at twice the time that its imports take.
            self._tokenizer: Any = AutoTokenizer.from_pretrained(language, trust_remote_code=False)
            guard(self._tokenizer)
        except (OSError, ValueError) as error:
            raise ParrotError(f"model: {error}") from None
        self._template = template_of(self._tokenizer)
        self._backend = self._tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        normalizer = self._backend.normalizer
        self._normalized = normalizer.normalize_str if normalizer else str
        described = json.loads(normalizer.__getstate__()) if normalizer else {"type": "NFC"}
        self._keeps_ascii = _keeps_ascii(described)
        self._replaced = _replaced(described)
        self._frames: dict[str, int | ValueError] = {}

    def at_most(self, talk: Talks) -> list[int | ValueError]:
        """No fewer positions than each conversation takes, found without its tokens: none is shorter than a
        byte. Or why the chat template does not take it."""
        images = count_in(talk.texts, IMAGE_TOKEN)
        sizes = talk.sums(self._sizes(talk.texts, images) + self._per_image * images)
        lists = pa.ListArray.from_arrays(pa.array(talk.starts, pa.int32()), talk.roles)
        who = pc.binary_join(lists, _BETWEEN).dictionary_encode()
        frames = [self._frame(roles) for roles in who.dictionary.to_pylist()]
        return [
            frame + size if isinstance(frame := frames[place], int) else frame
            for place, size in zip(who.indices.to_pylist(), sizes.tolist(), strict=True)
        ]

    def _frame(self, roles: str) -> int | ValueError:
        """What conversations of such turns take beside their texts."""
        if roles not in self._frames:
            turns = [Message(role, "a") for role in roles.split(_BETWEEN)] if roles else []  # type: ignore[arg-type]
            try:
                [tokens] = self._tokens([self._text(turns)])
                self._frames[roles] = tokens + _SEAM * len(turns)
            except ValueError as error:
                self._frames[roles] = ValueError(str(error))  # what was raised holds on to the records
        return self._frames[roles]

    def _sizes(self, texts: pa.StringArray, images: Integers) -> Integers:
        """UTF-8 bytes of each text without its images, as the tokenizer normalizes it."""
        if self._stays(as_bytes(texts)[1].decode()):  # then so does each part of it
            whole: Integers = pc.binary_length(texts).to_numpy() - len(IMAGE_TOKEN) * images
            return whole
        bare = (text.replace(IMAGE_TOKEN, "") for text in texts.to_pylist())
        return np.array([len((one if self._stays(one) else self._normalized(one)).encode()) for one in bare])

    def _stays(self, text: str) -> bool:
        """Whether the tokenizer's normalizer surely leaves a text as it is: that is soon seen."""
        if text.isascii():
            return self._keeps_ascii
        replaced = self._replaced
        if replaced is None or any(map(text.__contains__, replaced)):
            return False
        return is_normalized("NFC", text)

    def measure(self, *conversations: Sequence[Message]) -> list[int | ValueError]:
        """The positions that each takes, or why the chat template does not take it; on all cores."""
        found: list[int | ValueError] = []
        texts = []
        for messages in conversations:
            try:
                texts.append(self._text(messages))
                found.append((self._per_image - 1) * count_images(messages))
            except ValueError as error:
                found.append(error)
        tokens = iter(self._tokens(texts))
        return [one if isinstance(one, ValueError) else one + next(tokens) for one in found]

    def _text(self, turns: Sequence[Message]) -> str:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        [(text, _)] = texts_with_answers(self._tokenizer, [messages], self._template)
        return text

    def _tokens(self, texts: Sequence[str]) -> list[int]:
        """How many each text has, an image being one."""
        return [len(one) for one in self._backend.encode_batch_fast(texts, add_special_tokens=False)]


def _keeps_ascii(normalizer: dict[str, Any]) -> bool:
    """Whether ASCII surely is what it was behind a normalizer, whose cost is that of all else together."""
    if normalizer["type"] == "Sequence":
        return all(map(_keeps_ascii, normalizer["normalizers"]))
    if normalizer["type"] == "Replace":
        return not normalizer["pattern"].get("String", "").isascii()
    return normalizer["type"] in ("NFC", "NFD", "NFKC", "NFKD")


def _replaced(normalizer: dict[str, Any]) -> list[str] | None:
    """Without these strings a composed text (NFC) surely stays as it is; None: nothing is sure."""
    if normalizer["type"] == "Sequence":
        parts = list(map(_replaced, normalizer["normalizers"]))
        return None if None in parts else [one for part in parts if part for one in part]
    if normalizer["type"] == "Replace":
        return [text] if (text := normalizer["pattern"].get("String")) else None
    return [] if normalizer["type"] == "NFC" else None


@dataclass(frozen=True, slots=True)
class Fit:
    """How much of a conversation is kept."""

    turns: int
    """So many messages from its beginning."""
    positions: int
    """At most so many they take."""
    cut: str = ""
    """What is left out and why, in words; nothing of one that is whole."""


def fit_all(
    talk: Talks, ruler: Ruler, max_length: int, too_long: Literal["drop", "cut"]
) -> list[Fit | Rejected]:
    """What of each conversation fits into `max_length` positions.

    With `cut` one that is too long loses questions with their answers, and the images in them, from
    its end until it fits, never a part of a text. One is rejected if it is too long and not to be cut, or
    its first answer does not fit; or the chat template does not take it. The tokens of all are counted
    together.
    """
    found: list[Fit | Rejected] = []
    turns = np.diff(talk.starts).tolist()
    for count, bound in zip(turns, ruler.at_most(talk), strict=True):
        found.append(_untaken(bound) if isinstance(bound, ValueError) else Fit(count, bound))
    places = [place for place, fit in enumerate(found) if isinstance(fit, Fit) and fit.positions > max_length]
    long = {place: messages_of(talk, place) for place in places}
    for (place, messages), positions in zip(long.items(), ruler.measure(*long.values()), strict=True):
        try:
            found[place] = _fit(messages, positions, ruler, max_length, too_long)
        except Rejected as error:
            found[place] = error
    return found


def _untaken(error: ValueError) -> Rejected:
    return Rejected("messages", f"not in the chat template: {error}")


def _fit(
    messages: Sequence[Message], positions: int | ValueError, ruler: Ruler, max_length: int, too_long: str
) -> Fit:
    if isinstance(positions, ValueError):
        raise _untaken(positions)
    if positions <= max_length:
        return Fit(len(messages), positions)
    pairs, lead = divmod(len(messages), 2)  # a system message leads

    def taken(count: int) -> int:
        [found] = ruler.measure(messages[: lead + 2 * count]) if count else [0]
        if isinstance(found, ValueError):
            raise _untaken(found)
        return found

    fitting = bisect_right(range(pairs), max_length, key=taken) - 1 if too_long == "cut" else 0
    why = f"{positions} positions, more than model.max_length = {max_length}"
    if not fitting:
        raise Rejected("messages", f"too long: {why}")
    left_out = f"left out: the last {pairs - fitting} of {pairs} questions and answers"
    return Fit(lead + 2 * fitting, taken(fitting), f"cut: {why}; {left_out}")
