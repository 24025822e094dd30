"""One module for each upstream format; `FORMATS` is where a new one is entered."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parrot.data.images import ImageStore
from parrot.data.records import Record
from parrot.data.sources import alpaca, llava, mmmb
from parrot.data.sources.json_items import read_items


@dataclass(frozen=True, slots=True)
class Format:
    """How a source's file becomes records, both steps streaming.

    `entries(path)` yields what stands in the file, without touching images.
    `to_record(entry, number, language, source, store)` makes a record of entry `number` (counted
    from 0) or raises `Rejected`.
    """

    entries: Callable[[Path], Iterator[Any]]
    to_record: Callable[[Any, int, str, str, ImageStore | None], Record]


FORMATS: dict[str, Format] = {
    "llava": Format(read_items, llava.to_record),
    "alpaca": Format(read_items, alpaca.to_record),
    "mmmb": Format(mmmb.read_questions, mmmb.to_record),
}
