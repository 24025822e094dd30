"""How many positions a record takes in the model that will be trained, and what becomes of one too long.

Known before training, and counted as the model reads: with its tokenizer, its chat template, and what its
tower makes of each image.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jinja2 import TemplateError
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from parrot.config import Model
from parrot.data.records import IMAGE_TOKEN, Message, Record, Reject
from parrot.errors import ParrotError
from parrot.model.configuration_flamingo import FlamingoConfig
from parrot.model.configuration_parrot import ParrotConfig
from parrot.model.processing_parrot import ParrotProcessor, encode_texts

_CONFIGS = {"parrot": ParrotConfig, "flamingo": FlamingoConfig}
_SEAM = 8
"""Tokens that a turn may have more than its parts, because they are cut otherwise where they meet."""


@dataclass(frozen=True, slots=True)
class Shortened(Reject):
    """Turns of an entry that were left out; the rest of it is a record."""


class Ruler:
    """Measures records in positions of the language model, images included.

    Args:
        model: names the architecture.
        vision, language: folders of the backbones; no weights are read.

    Raises:
        ParrotError: a folder is missing or holds no such backbone, or the two do not go together.
    """

    def __init__(self, model: Model, vision: Path, language: Path) -> None:
        for folder in (vision, language):
            if not folder.is_dir():
                raise ParrotError(f"{folder}: not found; run the stages backbones-vision and -language first")
        try:
            config = _CONFIGS[model.architecture](
                vision_config=AutoConfig.from_pretrained(vision, trust_remote_code=False),
                text_config=AutoConfig.from_pretrained(language, trust_remote_code=False),
                vision_feature_layer=model.vision_feature_layer,
            )
            self._per_image: int = config.image_seq_length
            processor = ParrotProcessor(
                image_processor=AutoImageProcessor.from_pretrained(
                    vision, backend="pil", trust_remote_code=False
                ),
                tokenizer=AutoTokenizer.from_pretrained(language, trust_remote_code=False),
                image_seq_length=self._per_image,
            )
        except (OSError, ValueError) as error:
            raise ParrotError(f"model: {error}") from None
        self._tokenizer: Any = processor.tokenizer
        self._template: str = processor.chat_template
        self._frames: dict[tuple[str, ...], int] = {}

    def at_most(self, record: Record) -> int:
        """No fewer positions than `record` takes, found without its tokens: none is shorter than a byte."""
        roles = tuple(message.role for message in record.messages)
        if roles not in self._frames:
            frame = [Message(message.role, "a") for message in record.messages]
            self._frames[roles] = self._tokens(frame) + _SEAM * len(roles)
        texts = (message.content.replace(IMAGE_TOKEN, "") for message in record.messages)
        if normalizer := self._tokenizer.backend_tokenizer.normalizer:
            texts = (normalizer.normalize_str(text) for text in texts)
        return (
            self._frames[roles]
            + sum(len(text.encode()) for text in texts)
            + self._per_image * len(record.images)
        )

    def measure(self, record: Record) -> int:
        """The positions that `record` takes.

        Raises:
            ValueError, jinja2.TemplateError: the chat template does not take it.
        """
        return self._tokens(record.messages) + (self._per_image - 1) * len(record.images)

    def _tokens(self, turns: Sequence[Message]) -> int:
        """Of a conversation, an image being one."""
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        [(ids, _)] = encode_texts(self._tokenizer, [messages], self._template)
        return len(ids)


def fitted(
    items: Iterator[Record | Reject], ruler: Ruler, max_length: int, too_long: Literal["drop", "cut"]
) -> Iterator[Record | Reject]:
    """The records that fit into `max_length` positions, in order, and a reject for each that does not.

    With `cut` a record that is too long loses questions with their answers, and the images in them, from
    its end until it fits, never a part of a text; a `Shortened` says so. One whose first answer does
    not fit is rejected.
    """
    for item in items:
        if isinstance(item, Reject):
            yield item
        elif (bound := ruler.at_most(item)) <= max_length:
            yield replace(item, positions=bound)
        else:
            yield from _fit(item, ruler, max_length, cut=too_long == "cut")


def _fit(record: Record, ruler: Ruler, max_length: int, *, cut: bool) -> Iterator[Record | Reject]:
    try:
        positions = ruler.measure(record)
        if positions <= max_length:
            yield replace(record, positions=positions)
            return
        why = f"{positions} positions, more than model.max_length = {max_length}"
        pairs = len(record.messages) // 2

        def taken(count: int) -> int:
            return ruler.measure(_first(record, count)) if count else 0

        fitting = bisect_right(range(pairs), max_length, key=taken) - 1 if cut else 0
        if not fitting:
            yield Reject(record.source, record.id, "messages", f"too long: {why}")
            return
        shorter = _first(record, fitting)
        yield Shortened(
            record.source, record.id, "messages",
            f"cut: {why}; left out: the last {pairs - fitting} of {pairs} questions and answers",
        )  # fmt: skip
        yield replace(shorter, positions=taken(fitting))
    except (ValueError, TemplateError) as error:
        yield Reject(record.source, record.id, "messages", f"not in the chat template: {error}")


def _first(record: Record, pairs: int) -> Record:
    """The record with its first `pairs` of question and answer alone."""
    count = 2 * pairs + len(record.messages) % 2  # a system message leads
    messages = record.messages[:count]
    images = sum(message.content.count(IMAGE_TOKEN) for message in messages)
    return replace(record, messages=messages, images=record.images[:images])
