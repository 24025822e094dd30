"""What the checks look at: one light row for each record, measures in place of texts and pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from parrot.data.digests import content_digest, digest
from parrot.data.images import image_header
from parrot.data.records import IMAGE_TOKEN
from parrot.data.seen import FirstSeen
from parrot.data.shards import iterate

FRAME_ROWS = 10_000
LOST = "\N{REPLACEMENT CHARACTER}"


def read_metadata(prepared: Path, mixture: Path) -> Iterator[pd.DataFrame]:
    """Frames of at most 10,000 rows; one row describes one record, as the mixture has it:

    shard, id, source, language, positions, copies, stored_length: as its index says; repeated_id,
    duplicate: an earlier record has the same source and id, or the same texts and pictures; roles: as in
    "user assistant"; turns; text, text_bytes: of all messages, without image placeholders; longest_text: of
    one; empty_texts, broken_texts: messages without text (a question may be an image alone) or with lost
    characters; images, unreadable_images; placeholders: in the user's turns; answer_placeholders: in the
    others; shorter_side, longer_side: pixels, over all images of the record, none without image;
    picture_digests, looks: a list.
    """
    seen_ids, seen_contents = FirstSeen(), FirstSeen()
    rows: list[dict[str, Any]] = []
    for record in iterate(prepared, mixture):
        turns = [(turn["role"], turn["content"]) for turn in record["messages"]]
        pictures = [image["bytes"] or b"" for image in record["images"]]
        name = digest(repr((record["source"], record["id"])).encode())
        picture_digests = [digest(picture) for picture in pictures]
        content = content_digest(turns, picture_digests)
        rows.append(
            {
                column: record[column]
                for column in ("shard", "id", "source", "language", "positions", "copies")
            }
            | {
                "stored_length": record["length"],
                "repeated_id": seen_ids.earlier(name) is not None,
                "duplicate": seen_contents.earlier(content) is not None,
                "looks": record["looks"],
                "picture_digests": picture_digests,
            }
            | _measure_texts(turns)
            | _measure_pictures(pictures)
        )
        if len(rows) == FRAME_ROWS:
            yield _frame(rows)
            rows = []
    if rows:
        yield _frame(rows)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows).astype({"shorter_side": "float64", "longer_side": "float64"})


def _measure_texts(turns: list[tuple[str, str]]) -> dict[str, Any]:
    found = dict.fromkeys(("empty_texts", "broken_texts", "placeholders", "answer_placeholders"), 0)
    for role, text in turns:
        found["empty_texts"] += not text or text.isspace()
        found["broken_texts"] += LOST in text
        found["placeholders" if role == "user" else "answer_placeholders"] += text.count(IMAGE_TOKEN)
    texts = [text.replace(IMAGE_TOKEN, "") for _, text in turns]
    return {
        "roles": " ".join(role for role, _ in turns),
        "turns": len(turns),
        "text": "\n".join(texts),
        "longest_text": max(texts, key=len, default=""),
        "text_bytes": sum(len(text.encode()) for text in texts),
        **found,
    }


def _measure_pictures(pictures: list[bytes]) -> dict[str, Any]:
    sides: list[int] = []
    unreadable = 0
    for picture in pictures:
        try:
            width, height, _ = image_header(picture)
        except ValueError:
            unreadable += 1
            continue
        sides += width, height
    return {
        "images": len(pictures),
        "unreadable_images": unreadable,
        "shorter_side": min(sides, default=None),
        "longer_side": max(sides, default=None),
    }
