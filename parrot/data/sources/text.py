"""What every source demands of its texts and ids."""

from typing import Any

from parrot.data.rejects import Rejected


def checked_text(value: Any, field: str) -> str:
    """`value` if it is a string that says something in whole Unicode characters.

    Raises:
        Rejected: names `field`.
    """
    if not isinstance(value, str):
        raise Rejected(field, f"wrong type: expected text, found {type(value).__name__}")
    if not value.strip():
        raise Rejected(field, "empty text")
    if "\N{REPLACEMENT CHARACTER}" in value:
        raise Rejected(field, "broken text: characters were lost in a conversion (U+FFFD)")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Rejected(field, "broken text: half of a surrogate pair") from None
    return value


def entry_id(entry: Any, number: int) -> str:
    """The publisher's id of an entry, or its number in the file where it has none that can be written."""
    name = entry.get("id") if isinstance(entry, dict) else None
    usable = isinstance(name, int) or (isinstance(name, str) and name.isprintable() and name)
    return str(name) if usable else str(number)
