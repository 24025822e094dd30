"""The one record schema: what every source becomes and all that the later stages know.

A record is one conversation with zero or more images. It is stored in Parquet in the column
types that the Hugging Face `datasets` viewer shows as pictures and chats.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from parrot.data.digests import content_digest, digest

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

    `id` is the publisher's, `source` the name of the source in `params.yaml`; the number of `<image>`
    placeholders over all messages equals `len(images)`.
    """

    id: str
    source: str
    language: str
    messages: tuple[Message, ...]
    images: tuple[Image, ...] = ()
    mended: tuple[str, ...] = ()
    """By which rules its entry was mended; counted, and not stored."""
    looks: tuple[bytes, ...] = ()
    """Of each picture, if `images.near_bits` asks for it."""


# The `huggingface` metadata is what makes the Hub's viewer (and `datasets`) decode the images.
_STRING = {"dtype": "string", "_type": "Value"}
_BINARY = {"dtype": "binary", "_type": "Value"}
_FEATURES = {
    "id": _STRING,
    "source": _STRING,
    "language": _STRING,
    "messages": {"feature": {"role": _STRING, "content": _STRING}, "_type": "List"},
    "images": {"feature": {"_type": "Image"}, "_type": "List"},
    "length": {"dtype": "int32", "_type": "Value"},
    "digest": _BINARY,
    "picture_digests": {"feature": _BINARY, "_type": "List"},
    "looks": {"feature": _BINARY, "_type": "List"},
}
_TYPES = {
    "id": pa.string(),
    "source": pa.string(),
    "language": pa.string(),
    "messages": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    "images": pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    # UTF-8 bytes of all messages: by these batches are grouped.
    "length": pa.int32(),
    # By these equal records and equal pictures are found.
    "digest": pa.binary(),
    "picture_digests": pa.list_(pa.binary()),
    # By these pictures are found that are nearly equal.
    "looks": pa.list_(pa.binary()),
}
RECORD_SCHEMA = pa.schema(
    [pa.field(name, kind, nullable=False) for name, kind in _TYPES.items()],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)


def text_length(messages: Sequence[Message]) -> int:
    """UTF-8 bytes of all message contents, images' placeholders left out."""
    return sum(bytes_without_images(message.content) for message in messages)


def bytes_without_images(text: str) -> int:
    """UTF-8 bytes, images' placeholders left out."""
    size = len(text) if text.isascii() else len(text.encode())
    return size - len(IMAGE_TOKEN) * text.count(IMAGE_TOKEN)


def count_images(messages: Sequence[Message]) -> int:
    """How many images stand in the texts."""
    return sum(message.content.count(IMAGE_TOKEN) for message in messages)


def digest_of(messages: Sequence[Message], picture_digests: Sequence[bytes]) -> bytes:
    """Of a record's content."""
    return content_digest(((message.role, message.content) for message in messages), picture_digests)


def to_row(record: Record) -> dict[str, Any]:
    """The record as a row of `RECORD_SCHEMA`."""
    pictures = [digest(image.bytes) for image in record.images]
    return {
        "id": record.id,
        "source": record.source,
        "language": record.language,
        "messages": [{"role": message.role, "content": message.content} for message in record.messages],
        "images": [{"bytes": image.bytes, "path": image.path} for image in record.images],
        "length": text_length(record.messages),
        "digest": digest_of(record.messages, pictures),
        "picture_digests": pictures,
        "looks": list(record.looks),
    }
