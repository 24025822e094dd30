"""Fields of an entry: which say nothing, which are about the entry, and which must not vanish unread."""

import math
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

from parrot.data.rejects import Rejected
from parrot.data.sources.json_buffer import DOUBLED

_BLANK = {"", "none", "null", "nan", "n/a", "<na>", "[]", "{}"}

_MEDIUM = re.compile(
    r"(video|audio|speech|sound|voice|music|point_?cloud)s?(_?(path|file|name|url|list|byte|frame)s?)?",
    re.IGNORECASE,
)

# Fields that describe an entry and are no part of what is asked or answered, alone or as the last word
# of a name: `id`, `image_id`, `data_source`, `num_tokens`, …
_METADATA = re.compile(
    r"(?!(image|img|picture|photo)s?_(file_?name|name|path|url))(.+_)?"
    r"(id|uid|uuid|idx|index|key|source|dataset|origin|subset|split|model|generator|author|license|version"
    r"|width|height|size|resolution|format|url|path|file_?name|name|language|lang|locale"
    r"|type|category|subcategory|categories|task|domain|topic|tag|score|rating|quality|confidence"
    r"|hash|md5|sha1|sha256|date|time|timestamp|created|updated|length|count|token|meta|metadata|info)s?",
    re.IGNORECASE,
)


def is_blank(value: Any) -> bool:
    """Whether a value is one of the ways in which data sets write "none": null, "", "None", NaN, [""], …"""
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip().lower() in _BLANK
    if isinstance(value, list):
        return all(not isinstance(item, list) and is_blank(item) for item in value)
    return value == {} or (isinstance(value, float) and math.isnan(value))


def is_about_entry(name: str) -> bool:
    """Whether a field tells of the entry, and is no part of what is asked or answered."""
    return not _MEDIUM.fullmatch(name) and bool(_METADATA.fullmatch(name))


def one_of(entry: Mapping[str, Any], *names: str) -> tuple[str, Any]:
    """The one field that says something, of several `names` for the same; else the first that is there.

    Raises:
        Rejected: two of them say different things.
    """
    found = None
    for name in names:
        if name in entry:
            if found is not None:
                return _agreed(entry, [name for name in names if name in entry])
            found = name
    name = names[0] if found is None else found
    return name, entry.get(name)


def _agreed(entry: Mapping[str, Any], present: Sequence[str]) -> tuple[str, Any]:
    first, *others = [name for name in present if not is_blank(entry.get(name))] or present[:1]
    for other in others:
        if entry[other] != entry[first]:
            raise Rejected(other, f"said twice: {first} is there as well and differs")
    return first, entry.get(first)


def refuse_unread(entry: dict[str, Any], read: Set[str], where: str = "") -> None:
    """See that every field that says something is either read or about the entry, such as its id.

    Args:
        read: the names of the fields that are read.
        where: what stands before a field's name in the reject, such as `conversations[2].`.

    Raises:
        Rejected: names the first field that is neither.
    """
    if entry.keys() <= read:
        return
    if doubled := entry.get(DOUBLED):
        raise Rejected(
            where + ascii(doubled[0])[1:-1], "doubled key: which of its values counts, nobody says"
        )
    for name, value in entry.items():
        if name in read or is_blank(value):
            continue
        field = where + (name if name.isprintable() else ascii(name))
        if _MEDIUM.fullmatch(name):
            raise Rejected(field, "medium not read: a record is made of text and images")
        if not is_about_entry(name):
            raise Rejected(
                field,
                "unknown field: it would be lost; name it in the source's `ignore` if it is of no account",
            )
