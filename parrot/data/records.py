"""The one record schema: what every source becomes and all that the later stages know.

A record is one conversation with zero or more images. It is stored in Parquet in the column
types that the Hugging Face `datasets` viewer shows as pictures and chats.
"""

import json
import re
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

IMAGE_TOKEN = "<image>"
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `content` holds an `<image>` wherever an image stands in the text."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Image:
    """An encoded picture (JPEG, PNG, …) exactly as its publisher ships it, and its name there."""

    path: str
    bytes: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One training conversation.

    `id` is unique within `source` (the name of the source in `params.yaml`); the number of
    `<image>` placeholders over all messages equals `len(images)`.
    """

    id: str
    source: str
    language: str
    messages: tuple[Message, ...]
    images: tuple[Image, ...] = ()
    positions: int = 0
    """That it takes in the model which is trained: tokens, and those of each image; 0: not measured."""
    copies: int = 1
    """How often an epoch of training sees it: the weight of its source."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A source entry that could not become a record, and why: nothing is dropped in silence."""

    source: str
    record: str
    field: str
    reason: str


# The `huggingface` metadata is what makes the Hub's viewer (and `datasets`) decode the images.
_FEATURES = {
    "id": {"dtype": "string", "_type": "Value"},
    "source": {"dtype": "string", "_type": "Value"},
    "language": {"dtype": "string", "_type": "Value"},
    "messages": {
        "feature": {
            "role": {"dtype": "string", "_type": "Value"},
            "content": {"dtype": "string", "_type": "Value"},
        },
        "_type": "List",
    },
    "images": {"feature": {"_type": "Image"}, "_type": "List"},
    "length": {"dtype": "int32", "_type": "Value"},
    "positions": {"dtype": "int32", "_type": "Value"},
    "copies": {"dtype": "int32", "_type": "Value"},
}

RECORD_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field(
            "messages",
            pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
            nullable=False,
        ),
        pa.field(
            "images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())])), nullable=False
        ),
        # UTF-8 bytes of all messages: by these batches are grouped.
        pa.field("length", pa.int32(), nullable=False),
        pa.field("positions", pa.int32(), nullable=False),
        pa.field("copies", pa.int32(), nullable=False),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)


def text_length(messages: tuple[Message, ...]) -> int:
    """UTF-8 bytes of all message contents, images' placeholders left out."""
    return sum(len(re.sub(IMAGE_TOKEN, "", message.content).encode()) for message in messages)


def to_row(record: Record) -> dict[str, object]:
    """The record as a row of `RECORD_SCHEMA`."""
    return {
        "id": record.id,
        "source": record.source,
        "language": record.language,
        "messages": [{"role": message.role, "content": message.content} for message in record.messages],
        "images": [{"bytes": image.bytes, "path": image.path} for image in record.images],
        "length": text_length(record.messages),
        "positions": record.positions,
        "copies": record.copies,
    }
