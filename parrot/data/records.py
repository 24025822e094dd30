"""The one record schema: what every source becomes and all that the later stages know.

A record is one conversation with zero or more images. It is stored in Parquet in the column
types that the Hugging Face `datasets` viewer shows as pictures and chats.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
    return text_bytes(messages) - len(IMAGE_TOKEN) * count_images(messages)


def text_bytes(messages: Sequence[Message]) -> int:
    """UTF-8 bytes of all message contents."""
    size = 0
    for message in messages:
        text = message.content
        size += len(text) if text.isascii() else len(text.encode())
    return size


def count_images(messages: Sequence[Message]) -> int:
    """How many images stand in the texts."""
    return sum([message.content.count(IMAGE_TOKEN) for message in messages])


def digest_of(messages: Sequence[Message], picture_digests: Sequence[bytes]) -> bytes:
    """Of a record's content."""
    return content_digest([(message.role, message.content) for message in messages], picture_digests)


def to_table(records: Sequence[Record]) -> pa.Table:
    """Their rows of `RECORD_SCHEMA`, made column by column: dictionaries take several times as long."""
    messages = [message for record in records for message in record.messages]
    images = [image for record in records for image in record.images]
    pictures = [[digest(image.bytes) for image in record.images] for record in records]
    roles = pa.array([message.role for message in messages], pa.string())
    texts = pa.array([message.content for message in messages], pa.string())
    talks = pa.StructArray.from_arrays([roles, texts], ["role", "content"])
    counts = [len(record.messages) for record in records]
    bare = (
        np.asarray(pc.binary_length(texts))
        - len(IMAGE_TOKEN) * pc.count_substring(texts, IMAGE_TOKEN).to_numpy()
    )
    until = np.cumsum([0, *bare])[np.cumsum([0, *counts])]
    files = pa.StructArray.from_arrays(
        [
            pa.array([image.bytes for image in images], pa.binary()),
            pa.array([image.path for image in images], pa.string()),
        ],
        ["bytes", "path"],
    )
    columns = {
        "id": [record.id for record in records],
        "source": [record.source for record in records],
        "language": [record.language for record in records],
        "messages": _lists(talks, counts, "messages"),
        "images": _lists(files, [len(record.images) for record in records], "images"),
        "length": np.diff(until),
        "digest": [digest_of(record.messages, own) for record, own in zip(records, pictures, strict=True)],
        "picture_digests": pictures,
        "looks": [record.looks for record in records],
    }
    return pa.table(
        [
            column if isinstance(column, pa.Array) else pa.array(column, _TYPES[name])
            for name, column in columns.items()
        ],
        RECORD_SCHEMA,
    )


def _lists(values: pa.Array, lengths: Sequence[int], name: str) -> pa.ListArray:
    offsets = pa.array([0, *accumulate(lengths)], pa.int32())
    return pa.ListArray.from_arrays(offsets, values, _TYPES[name])
