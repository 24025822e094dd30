"""The one record schema: what every source becomes and all that the later stages know.

A record is one conversation with zero or more images. It is stored in Parquet in the column
types that the Hugging Face `datasets` viewer shows as pictures and chats.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parrot.data.columns import Integers, Talks, count_in
from parrot.data.digests import content_digests, digest

IMAGE_TOKEN = "<image>"
LOST = "\N{REPLACEMENT CHARACTER}"
"""In place of characters that a conversion has lost."""
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


def messages_of(talk: Talks, place: int) -> list[Message]:
    """Those of one record."""
    begin, end = talk.starts[place : place + 2].tolist()
    roles, texts = talk.roles[begin:end].to_pylist(), talk.texts[begin:end].to_pylist()
    return list(map(Message, roles, texts))


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


def talk_of(conversations: Sequence[Sequence[Message]]) -> Talks:
    """The messages of some records, column by column."""
    messages = [message for conversation in conversations for message in conversation]
    return Talks(
        np.cumsum([0, *map(len, conversations)]),
        pa.array([message.role for message in messages], pa.string()),
        pa.array([message.content for message in messages], pa.string()),
    )


def to_table(records: Sequence[Record]) -> pa.Table:
    """Their rows of `RECORD_SCHEMA`, made column by column: dictionaries take several times as long."""
    images = [image for record in records for image in record.images]
    pictures = [[digest(image.bytes) for image in record.images] for record in records]
    encoded = pa.array([image.bytes for image in images], pa.binary())
    paths = pa.array([image.path for image in images], pa.string())
    files = pa.StructArray.from_arrays([encoded, paths], ["bytes", "path"])
    talk = talk_of([record.messages for record in records])
    sizes = pc.binary_length(talk.texts).to_numpy() - len(IMAGE_TOKEN) * count_in(talk.texts, IMAGE_TOKEN)
    others = {
        "id": [record.id for record in records],
        "source": [record.source for record in records],
        "language": [record.language for record in records],
        "images": _lists(np.cumsum([0, *map(len, pictures)]), files, "images"),
        "looks": [record.looks for record in records],
    }
    return _table(talk, sizes, pictures, others)


def text_table(names: pa.StringArray, source: str, language: str, talk: Talks) -> pa.Table:
    """Rows of `RECORD_SCHEMA` of records without images."""
    none: list[list[Any]] = [[]] * len(names)
    repeated = {"source": pa.repeat(source, len(names)), "language": pa.repeat(language, len(names))}
    sizes = pc.binary_length(talk.texts).to_numpy()
    return _table(talk, sizes, none, repeated | {"id": names, "images": none, "looks": none})


def _table(
    talk: Talks, sizes: Integers, pictures: Sequence[Sequence[bytes]], others: dict[str, Any]
) -> pa.Table:
    """Rows of `RECORD_SCHEMA`.

    Args:
        sizes: UTF-8 bytes of each message, images' placeholders left out.
        pictures: their digests.
        others: the columns that do not follow from these.
    """
    said = pa.StructArray.from_arrays([talk.roles, talk.texts], ["role", "content"])
    columns = others | {
        "messages": _lists(talk.starts, said, "messages"),
        "length": talk.sums(sizes),
        "digest": content_digests(talk, pictures),
        "picture_digests": pictures,
    }
    return pa.table(
        [
            columns[name] if isinstance(columns[name], pa.Array) else pa.array(columns[name], kind)
            for name, kind in _TYPES.items()
        ],
        RECORD_SCHEMA,
    )


def _lists(starts: Integers, values: pa.Array, name: str) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), values, _TYPES[name])
