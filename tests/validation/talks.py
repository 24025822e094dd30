"""Good records, ways to make some of them bad, and the limits that they are held to."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import PIL.Image
from written_mixtures import MixedRecord

from parrot.config import Images, Validate
from parrot.data.records import Image, Message

LANGUAGES = ["en", "zh"]
MAX_LENGTH = 100
IMAGES = Images(max_megapixels=1, min_pixels=16, max_pixels=200)
LIMITS = Validate(
    min_records=20,
    max_duplicate_share=0.05,
    max_text_only_share=0.2,
    english_share=[0.5, 0.9],
    min_language_share=0.1,
)

Plant = Callable[[list[MixedRecord]], list[MixedRecord]]


def picture(number: int, width: int = 20, height: int = 20) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), (number % 256, 7, 9)).save(file, "JPEG")
    return file.getvalue()


def record(number: int) -> MixedRecord:
    return MixedRecord(
        id=f"r{number}",
        source="talk",
        language="zh" if number % 4 == 0 else "en",
        messages=(Message("user", "<image>\nWhat is it?"), Message("assistant", f"Number {number}.")),
        images=(Image(f"{number}.jpg", picture(number)),),
    )


def good() -> list[MixedRecord]:
    return [record(number) for number in range(40)]


def change(number: int, **values: Any) -> Plant:
    """One record's fields are other ones."""
    return lambda records: [replace(item, **values) if item.id == f"r{number}" else item for item in records]


def say(*turns: tuple[Any, str]) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in turns)


TWO = say(("user", "What?"), ("assistant", "It."))
