"""One module for each upstream format; `FORMATS` is where a new one is entered."""

from collections.abc import Callable
from typing import Any

from parrot.data.images import ImageStore
from parrot.data.records import Record
from parrot.data.sources import alpaca, llava
from parrot.data.sources.json_items import read_items

ToRecord = Callable[[Any, int, str, str, ImageStore | None], Record]
"""`to_record(entry, number, language, source, store)` makes a record of entry `number` of a file (counted
from 0), or raises `Rejected`."""

FORMATS: dict[str, ToRecord] = {"llava": llava.to_record, "alpaca": alpaca.to_record}
"""All of them are lists in JSON, or JSON lines."""

__all__ = ["FORMATS", "ToRecord", "read_items"]
