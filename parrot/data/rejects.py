"""Why an entry of a source did not become a record: nothing is dropped in silence."""

import base64
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parrot.errors import ParrotError


class Rejected(Exception):
    """Raised where an entry turns out to be unusable.

    Args:
        field: where in the entry, such as `conversations[2].value`.
        reason: `kind: detail`; metrics count the kinds, a person reads both.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        # The name of a file on disk that is quoted may be no Unicode.
        self.reason = reason.encode(errors="backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Reject:
    """An entry of a source, in the file of a language, and what is wrong in which of its fields."""

    source: str
    language: str
    record: str
    field: str
    reason: str
    position: int
    """In the file of the language, from 0; shards are one file."""
    entry: str
    """The whole of it as JSON, as its publisher has it; as it was prepared where `mix` rejects it."""


def kind(reason: str) -> str:
    """`missing image: images.zip has no 7.jpg` -> `missing image`."""
    return reason.partition(":")[0]


def as_json(entry: Any) -> str:
    """An entry on one line; bytes in base64, and escaped where a text is no whole Unicode."""
    text = json.dumps(entry, ensure_ascii=False, default=_base64)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(entry, default=_base64)
    return text


def _base64(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def too_many(why: Counter[str], total: int, limit: float, name: str, table: Path) -> ParrotError | None:
    """The error if of `total` entries none is left, or a larger share than `limit` was rejected.

    Says how many, why most of them, and in which table all are listed.
    """
    rejected = why.total()
    if rejected <= limit * total and rejected < total:
        return None
    common = ", ".join(f"{reason} ({count})" for reason, count in why.most_common(3))
    return ParrotError(
        f"{name}: {rejected} of {total} entries rejected, max_reject_share allows {limit:g}; mostly "
        f"{common}; all are listed in {table}"
    )
