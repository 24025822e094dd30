"""What is found of one record, whatever the others are."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import pyarrow as pa

from parrot.data.digests import content_digest, digest
from parrot.data.images import image_header
from parrot.data.records import IMAGE_TOKEN

LOST = "\N{REPLACEMENT CHARACTER}"


class Measures(NamedTuple):
    """Of a record as a mixture has it; `read_metadata` says what each is."""

    shard: str
    id: str
    source: str
    language: str
    positions: int
    copies: int
    stored_length: int
    name_digest: bytes
    """By which it is found that source and id come again."""
    content_digest: bytes
    looks: list[bytes]
    picture_digests: list[bytes]
    roles: str
    turns: int
    text: str
    longest_text: str
    text_bytes: int
    empty_texts: int
    broken_texts: int
    placeholders: int
    answer_placeholders: int
    images: int
    unreadable_images: int
    shorter_side: float
    longer_side: float


_TYPES = {
    str: pa.string(), int: pa.int64(), float: pa.float64(), bytes: pa.binary(),
    list[bytes]: pa.list_(pa.binary()),
}  # fmt: skip
SCHEMA = pa.schema([pa.field(name, _TYPES[kind]) for name, kind in get_type_hints(Measures).items()])


def measure(record: Mapping[str, Any]) -> Measures:
    """Of one that `iterate` gives."""
    roles = [turn["role"] for turn in record["messages"]]
    texts = [turn["content"] for turn in record["messages"]]
    pictures = [image["bytes"] or b"" for image in record["images"]]
    digests = [digest(picture) for picture in pictures]
    images = [text.count(IMAGE_TOKEN) for text in texts]
    asked = sum([count for role, count in zip(roles, images, strict=True) if role == "user"])
    bare = [text.replace(IMAGE_TOKEN, "") for text in texts] if any(images) else texts
    return Measures(
        record["shard"], record["id"], record["source"], record["language"], record["positions"],
        record["copies"], record["length"],
        digest(repr((record["source"], record["id"])).encode()),
        content_digest(zip(roles, texts, strict=True), digests),
        record["looks"],
        digests,
        " ".join(roles),
        len(texts),
        "\n".join(bare),
        max(bare, key=len, default=""),
        sum([len(text) if text.isascii() else len(text.encode()) for text in bare]),
        sum([not text or text.isspace() for text in texts]),
        sum([LOST in text for text in texts]),
        asked,
        sum(images) - asked,
        *(_measure_pictures(pictures) if pictures else (0, 0, np.nan, np.nan)),
    )  # fmt: skip


def _measure_pictures(pictures: Sequence[bytes]) -> tuple[int, int, float, float]:
    """How many, how many of them unreadable, and the shortest and the longest side of the others."""
    sides: list[float] = []
    unreadable = 0
    for picture in pictures:
        try:
            width, height, _ = image_header(picture)
        except ValueError:
            unreadable += 1
            continue
        sides += width, height
    return len(pictures), unreadable, min(sides, default=np.nan), max(sides, default=np.nan)
