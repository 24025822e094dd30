"""A broken input between good ones, looked through as `parrot data check` does it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from small_sources import conversation, picture, write_zip

from parrot.config import Images, Source
from parrot.data.check import BrokenRecord, Check
from parrot.data.rejects import kind

LIMITS = Images(max_megapixels=1.0, min_pixels=8, max_pixels=2000)


def write_records(folder: Path, odd: Any, pictures: dict[str, bytes] | None = None) -> Path:
    """Good records at 0 and 2, and `odd` between them: an entry, or JSON that no `json` would write."""
    text = odd if isinstance(odd, str) else json.dumps(odd)
    entries = [json.dumps(conversation(0)), text, json.dumps(conversation(2))]
    path = folder / "records.json"
    path.write_text("[" + ",\n".join(entries) + "]", encoding="utf-8")
    write_zip(folder / "images.zip", {f"{n}.jpg": picture(n, (40, 40)) for n in range(3)} | (pictures or {}))
    return path


def look_through(path: Path, images: Path, format_: str = "llava") -> tuple[int, list[BrokenRecord]]:
    """How many records were read, and which are broken."""
    source = Source(split="sft", format=format_, path=str(path), images=str(images), language="en")
    check = Check("odd", source, LIMITS, ["en"])
    broken = list(check)
    assert check.reasons.total() == len(broken)
    return check.read, broken


def kinds_at(broken: Sequence[BrokenRecord]) -> list[tuple[int, str, str]]:
    return [(one.position, one.field, kind(one.reason)) for one in broken]
