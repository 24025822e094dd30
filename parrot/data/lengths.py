"""How many positions a record takes in the model that will be trained, and what becomes of one too long.

Known before training, and counted as the model reads: with its tokenizer, its chat template, and what its
tower makes of each image.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from transformers import AutoConfig, AutoTokenizer

from parrot.config import Model
from parrot.data.records import IMAGE_TOKEN, Message, count_images
from parrot.data.rejects import Reject, Rejected
from parrot.errors import ParrotError
from parrot.model.chat_format import template_of
from parrot.model.chat_text import guard, texts_with_answers
from parrot.model.configuration_flamingo import FlamingoConfig
from parrot.model.configuration_parrot import ParrotConfig

_CONFIGS = {"parrot": ParrotConfig, "flamingo": FlamingoConfig}
_SEAM = 8
"""Tokens that a turn may have more than its parts, because they are cut otherwise where they meet."""
TOGETHER = 500
"""Conversations that are looked at at a time."""


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
        self._keeps_ascii = not normalizer or _keeps_ascii(json.loads(normalizer.__getstate__()))
        self._frames: dict[tuple[str, ...], int] = {}

    def at_most(self, messages: Sequence[Message]) -> int:
        """No fewer positions than they take, found without their tokens: none is shorter than a byte."""
        roles = tuple([message.role for message in messages])
        if roles not in self._frames:
            frame = [Message(message.role, "a") for message in messages]
            [tokens] = self._tokens([self._text(frame)])
            self._frames[roles] = tokens + _SEAM * len(roles)
        images = count_images(messages)
        bound = self._frames[roles] + self._per_image * images
        for message in messages:
            text = message.content.replace(IMAGE_TOKEN, "") if images else message.content
            ascii_stays = self._keeps_ascii and text.isascii()
            bound += len(text) if ascii_stays else len(self._normalized(text).encode())
        return bound

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


@dataclass(frozen=True, slots=True)
class Fit:
    """How much of a conversation is kept."""

    turns: int
    """So many messages from its beginning."""
    positions: int
    """At most so many they take."""
    cut: str = ""
    """What is left out and why, in words; nothing of one that is whole."""


class _HasMessages(Protocol):
    @property
    def messages(self) -> Sequence[Message]: ...


Item = TypeVar("Item", bound=_HasMessages)


def fit_all(
    items: Iterable[Item | Reject], ruler: Ruler, max_length: int, too_long: Literal["drop", "cut"]
) -> Iterator[tuple[Item, Fit | Rejected] | Reject]:
    """Each item with what of it fits into `max_length` positions, in their order.

    With `cut` one that is too long loses questions with their answers, and the images in them, from
    its end until it fits, never a part of a text. One is rejected if it is too long and not to be cut, or
    its first answer does not fit; or the chat template does not take it. The tokens of many are counted
    together.
    """
    items = iter(items)
    while some := list(islice(items, TOGETHER)):
        bounds: dict[int, int | ValueError] = {}
        long: dict[int, Sequence[Message]] = {}
        for place, item in enumerate(some):
            if isinstance(item, Reject):
                continue
            try:
                bounds[place] = bound = ruler.at_most(item.messages)
                if bound > max_length:
                    long[place] = item.messages
            except ValueError as error:
                bounds[place] = error
        bounds |= zip(long, ruler.measure(*long.values()), strict=True)
        for place, item in enumerate(some):
            if isinstance(item, Reject):
                yield item
                continue
            try:
                yield item, _fit(item.messages, bounds[place], ruler, max_length, too_long)
            except Rejected as error:
                yield item, error


def _fit(
    messages: Sequence[Message], positions: int | ValueError, ruler: Ruler, max_length: int, too_long: str
) -> Fit:
    if isinstance(positions, ValueError):
        raise Rejected("messages", f"not in the chat template: {positions}")
    if positions <= max_length:
        return Fit(len(messages), positions)
    pairs, lead = divmod(len(messages), 2)  # a system message leads

    def taken(count: int) -> int:
        [found] = ruler.measure(messages[: lead + 2 * count]) if count else [0]
        if isinstance(found, ValueError):
            raise Rejected("messages", f"not in the chat template: {found}")
        return found

    fitting = bisect_right(range(pairs), max_length, key=taken) - 1 if too_long == "cut" else 0
    why = f"{positions} positions, more than model.max_length = {max_length}"
    if not fitting:
        raise Rejected("messages", f"too long: {why}")
    left_out = f"left out: the last {pairs - fitting} of {pairs} questions and answers"
    return Fit(lead + 2 * fitting, taken(fitting), f"cut: {why}; {left_out}")
