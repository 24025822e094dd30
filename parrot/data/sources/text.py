"""What every source demands of its texts and ids."""

from collections.abc import Sequence
from typing import Any

from parrot.data.records import IMAGE_TOKEN, LOST, Message
from parrot.data.rejects import Rejected
from parrot.data.sources.fields import is_blank, one_of

CONTROL = bytes([*range(9), *range(0x0E, 0x1C), 0x7F])
"""What no text is made of; what parts lines may be there, and so may Arabic's marks of direction."""
LEFT_TO_RIGHT, RIGHT_TO_LEFT = "\u202d", "\u202e"


def checked_text(value: Any, field: str) -> str:
    """`value` if it is a string that says something in whole Unicode characters.

    Raises:
        Rejected: names `field`.
    """
    if not isinstance(value, str):
        raise Rejected(field, f"wrong type: expected text, found {type(value).__name__}")
    if not value or value.isspace():
        raise Rejected(field, "empty text")
    if LOST in value:
        raise Rejected(field, "broken text: characters were lost in a conversion (U+FFFD)")
    if value.isprintable():  # then nothing of what follows is in it: most texts on one line are soon through
        return value
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise Rejected(field, "broken text: half of a surrogate pair") from None
    if len(encoded.translate(None, CONTROL)) < len(encoded):  # a tenth of the time of a regular expression
        place, odd = next((place, ord(one)) for place, one in enumerate(value) if ord(one) in CONTROL)
        raise Rejected(field, f"control character: U+{odd:04X} after {place} characters")
    if LEFT_TO_RIGHT in value or RIGHT_TO_LEFT in value:
        raise Rejected(
            field,
            "control character: a text that is displayed in another order than it is read (U+202D, U+202E)",
        )
    return value


def system_message(entry: dict[str, Any], names: Sequence[str]) -> tuple[Message, ...]:
    """The leading message that one of some fields of an entry makes; none if it has none of them.

    Raises:
        Rejected: both are there and differ, or it is no text.
    """
    if not names:
        return ()
    field, value = one_of(entry, *names)
    return () if is_blank(value) else (Message("system", without_images(value, field)),)


def without_images(value: Any, field: str) -> str:
    """A checked text in which no image may stand.

    Raises:
        Rejected: names `field`.
    """
    text = checked_text(value, field)
    if IMAGE_TOKEN in text:
        raise Rejected(field, f"placeholders: {IMAGE_TOKEN} outside a question")
    return text


def entry_id(entry: Any, number: int, names: Sequence[str] = ("id",)) -> str:
    """The publisher's id of an entry, or its number in the file where it has none that can be written."""
    given = [entry[name] for name in names if name in entry] if isinstance(entry, dict) else []
    name = given[0] if given else None
    usable = isinstance(name, int) or (
        isinstance(name, str) and name and name.isprintable() and LOST not in name
    )
    return str(name) if usable else str(number)
