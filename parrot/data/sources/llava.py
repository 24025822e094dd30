"""LLaVA's conversations: a list of {"id", "image", "conversations": [{"from", "value"}, …]}.

Format: https://github.com/haotian-liu/LLaVA/blob/main/docs/Finetune_Custom_Data.md. `image` is a name, a
list of names, or absent; `<image>` moves to the front of its turn, as LLaVA and Parrot read it.
"""

from typing import Any

from parrot.data.images import ImageStore
from parrot.data.records import IMAGE_TOKEN, Image, Message, Record
from parrot.data.rejects import Rejected
from parrot.data.sources.text import checked_text, entry_id


def to_record(entry: Any, number: int, language: str, source: str, store: ImageStore | None) -> Record:
    """Entry `number` of the file as a record.

    Raises:
        Rejected: names the field and what is wrong with it.
    """
    if not isinstance(entry, dict):
        raise Rejected("", f"wrong type: expected an object, found {type(entry).__name__}")
    messages = _messages(entry.get("conversations"))
    names = _image_names(entry.get("image"))
    placeholders = sum(message.content.count(IMAGE_TOKEN) for message in messages)
    if placeholders != len(names):
        raise Rejected("conversations", f"placeholders: {placeholders} {IMAGE_TOKEN} for {len(names)} images")
    if names and store is None:
        raise Rejected("image", "missing image: params.yaml names no `images` for this source")
    images = tuple(Image(name, store.read(name)) for name in names) if store else ()
    return Record(entry_id(entry, number), source, language, messages, images)


def _messages(turns: Any) -> tuple[Message, ...]:
    if not isinstance(turns, list):
        raise Rejected("conversations", f"wrong type: expected a list, found {type(turns).__name__}")
    if not turns or len(turns) % 2:
        raise Rejected("conversations", f"turns: {len(turns)}, expected pairs of question and answer")
    return tuple(_message(turn, number) for number, turn in enumerate(turns))


def _message(turn: Any, number: int) -> Message:
    field = f"conversations[{number}]"
    if not isinstance(turn, dict):
        raise Rejected(field, f"wrong type: expected an object, found {type(turn).__name__}")
    asks = number % 2 == 0
    expected = "human" if asks else "gpt"
    if turn.get("from") != expected:
        raise Rejected(f"{field}.from", f"turns: expected {expected}, found {turn.get('from')!r:.40}")
    text = checked_text(turn.get("value"), f"{field}.value")
    count = text.count(IMAGE_TOKEN)
    if count and not asks:
        raise Rejected(f"{field}.value", f"placeholders: {IMAGE_TOKEN} in an answer")
    if count:
        rest = checked_text(text.replace(IMAGE_TOKEN, ""), f"{field}.value").strip()
        text = f"{IMAGE_TOKEN}\n" * count + rest
    return Message("user" if asks else "assistant", text)


def _image_names(value: Any) -> list[str]:
    names = [] if value is None else value if isinstance(value, list) else [value]
    return [checked_text(name, "image") for name in names]
