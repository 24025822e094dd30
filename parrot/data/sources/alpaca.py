"""Alpaca's instructions: a list of {"instruction", "input", "output"}, text only; `input` may be empty.

Format: https://github.com/tatsu-lab/stanford_alpaca#data-release. Descendants add `system`; on the Hub
`text` repeats the other fields.
"""

from typing import Any

from parrot.data.images import ImageStore
from parrot.data.records import IMAGE_TOKEN, Message, Record
from parrot.data.rejects import Rejected
from parrot.data.sources.fields import is_blank, refuse_unread
from parrot.data.sources.text import checked_text, entry_id, system_message

_READ = {"instruction", "input", "output", "system", "system_prompt", "text"}


def to_record(entry: Any, number: int, language: str, source: str, store: ImageStore | None) -> Record:
    """Entry `number` of the file as a record without images.

    Raises:
        Rejected: names the field and what is wrong with it.
    """
    if not isinstance(entry, dict):
        raise Rejected("", f"wrong type: expected an object, found {type(entry).__name__}")
    refuse_unread(entry, _READ)
    asked = checked_text(entry.get("instruction"), "instruction")
    if not is_blank(entry.get("input")):
        asked += "\n" + checked_text(entry["input"], "input")
    answer = checked_text(entry.get("output"), "output")
    for field, text in (("instruction", asked), ("output", answer)):
        if IMAGE_TOKEN in text:
            raise Rejected(field, f"placeholders: {IMAGE_TOKEN} in a text without images")
    messages = (*system_message(entry), Message("user", asked), Message("assistant", answer))
    return Record(entry_id(entry, number), source, language, messages)
