"""Baize's conversations: {"topic", "input"}, all turns in one text, behind `[|Human|]` and `[|AI|]`."""

import re
from typing import Any

from parrot.data.rejects import Rejected

_PREFACE = "The conversation between human and AI assistant."
_SPEAKER = re.compile(r"\[\|(Human|AI)\|\]")


def rewrite(entry: dict[str, Any], number: int) -> dict[str, Any]:
    """The entry as LLaVA writes conversations. The last `[|Human|]` is empty: it is where a talk ended.

    Raises:
        Rejected: `input` is no such text.
    """
    text = entry.get("input")
    if not isinstance(text, str):
        raise Rejected("input", f"wrong type: expected text, found {type(text).__name__}")
    preface, *parts = _SPEAKER.split(text)
    speakers, values = parts[::2], [value.strip() for value in parts[1::2]]
    if speakers and speakers[-1] == "Human" and not values[-1]:
        speakers, values = speakers[:-1], values[:-1]
    talk = [
        {"from": "human" if speaker == "Human" else "gpt", "value": value}
        for speaker, value in zip(speakers, values, strict=True)
    ]
    rest = {key: value for key, value in entry.items() if key != "input"}
    return rest | {"system": preface.replace(_PREFACE, "").strip(), "conversations": talk}
