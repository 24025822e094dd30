"""The records of a source, read as `prepare` reads them."""

from typing import Any

from parrot.config import Images, Source
from parrot.data.records import Record
from parrot.data.rejects import Reject
from parrot.data.sources.reading import SourceReader

LIMITS = Images(max_megapixels=1.0, min_pixels=8, max_pixels=2000)


def read(source: dict[str, Any], languages: tuple[str, ...] = ("en",)) -> list[Record | Reject]:
    settings = {"split": "sft", "language": "en", "images": source["path"]} | source
    reader = SourceReader("it", Source(**settings), LIMITS)
    return [reader.record(*entry) for entry in reader.entries(languages)]


def records(source: dict[str, Any]) -> list[Record]:
    found = read(source)
    assert all(isinstance(one, Record) for one in found), found
    return [one for one in found if isinstance(one, Record)]


def texts(record: Record) -> list[str]:
    return [message.content for message in record.messages]


def only_reason(found: list[Record | Reject]) -> str:
    [reject] = found
    assert isinstance(reject, Reject)
    return reject.reason
