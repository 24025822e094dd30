"""LLaVA's conversations: a list of {"id", "image", "conversations": [{"from", "value"}, …]}.

Format: https://github.com/haotian-liu/LLaVA/blob/main/docs/Finetune_Custom_Data.md. `image` is a name, a
list of names, or one of the ways to say that there is none. A single `<image>` moves to the front of its
turn, as LLaVA and Parrot read it; several in one turn stay where they stand.

Its descendants (ShareGPT, LLaMA-Factory, ms-swift) also write `images`, `messages`, `role` and `content`,
call the speakers user and assistant, and add a system message: a field or the first turn.
"""

from typing import Any

from parrot.data.images import ImageStore
from parrot.data.records import IMAGE_TOKEN, Image, Message, Record
from parrot.data.rejects import Rejected
from parrot.data.sources.fields import is_blank, one_of, refuse_unread
from parrot.data.sources.text import checked_text, entry_id, system_message, without_images

_READ = {"image", "images", "conversations", "messages", "system", "system_prompt"}
_READ_OF_TURN = {"from", "role", "value", "content"}
_ASKS = ("human", "user")
_ANSWERS = ("gpt", "assistant")


def to_record(entry: Any, number: int, language: str, source: str, store: ImageStore | None) -> Record:
    """Entry `number` of the file as a record.

    Raises:
        Rejected: names the field and what is wrong with it.
    """
    if not isinstance(entry, dict):
        raise Rejected("", f"wrong type: expected an object, found {type(entry).__name__}")
    refuse_unread(entry, _READ)
    messages = _messages(entry)
    names = _image_names(*one_of(entry, "image", "images"))
    placeholders = sum(message.content.count(IMAGE_TOKEN) for message in messages)
    if placeholders != len(names):
        raise Rejected("conversations", f"placeholders: {placeholders} {IMAGE_TOKEN} for {len(names)} images")
    if names and store is None:
        raise Rejected("image", "missing image: params.yaml names no `images` for this source")
    images = tuple(Image(name, store.read(name)) for name in names) if store else ()
    return Record(entry_id(entry, number), source, language, messages, images)


def _messages(entry: dict[str, Any]) -> tuple[Message, ...]:
    field, turns = one_of(entry, "conversations", "messages")
    if not isinstance(turns, list):
        raise Rejected(field, f"wrong type: expected a list, found {type(turns).__name__}")
    system, first = system_message(entry), 0
    if turns and isinstance(turns[0], dict) and _speaker(turns[0])[1] == "system":
        system, first = _system_turn(turns[0], f"{field}[0]", system), 1
    talk = turns[first:]
    if not talk or len(talk) % 2:
        raise Rejected(field, f"turns: {len(talk)}, expected pairs of question and answer")
    return (
        *system,
        *(_message(turn, f"{field}[{place + first}]", place) for place, turn in enumerate(talk)),
    )


def _system_turn(turn: dict[str, Any], field: str, given: tuple[Message, ...]) -> tuple[Message, ...]:
    """The system message of a first turn, which agrees with the one of the entry if that is `given`."""
    refuse_unread(turn, _READ_OF_TURN, f"{field}.")
    key, value = one_of(turn, "value", "content")
    if is_blank(value):
        return given
    message = Message("system", without_images(value, f"{field}.{key}"))
    if given and given != (message,):
        raise Rejected(f"{field}.{key}", "said twice: the entry has another system message")
    return (message,)


def _message(turn: Any, field: str, place: int) -> Message:
    """The turn at `place`, counted from 0 behind the system message: questions are even."""
    if not isinstance(turn, dict):
        raise Rejected(field, f"wrong type: expected an object, found {type(turn).__name__}")
    refuse_unread(turn, _READ_OF_TURN, f"{field}.")
    expected = _ANSWERS if place % 2 else _ASKS
    key, speaker = _speaker(turn)
    if speaker not in expected:
        raise Rejected(f"{field}.{key}", f"turns: expected {expected[0]}, found {speaker!r:.40}")
    key, value = one_of(turn, "value", "content")
    if expected is _ANSWERS:
        return Message("assistant", without_images(value, f"{field}.{key}"))
    return Message("user", _placed(checked_text(value, f"{field}.{key}")))


def _speaker(turn: dict[str, Any]) -> tuple[str, str]:
    """The field that names who speaks, and what it says; the name of its type if that is no text."""
    key, value = one_of(turn, "from", "role")
    return key, value if isinstance(value, str) else type(value).__name__


def _placed(text: str) -> str:
    """A question as the model reads it: a single image in front, several where they stand."""
    count = text.count(IMAGE_TOKEN)
    if count == 0:
        return text
    if count > 1:
        return text.strip()
    rest = text.replace(IMAGE_TOKEN, "").strip()
    return f"{IMAGE_TOKEN}\n{rest}" if rest else IMAGE_TOKEN


def _image_names(field: str, value: Any) -> list[str]:
    names = value if isinstance(value, list) else [value]
    return [checked_text(name, field) for name in names if not is_blank(name)]
