"""A list of turns as people have it -> messages in which questions and answers alternate."""

from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from parrot.config import Format
from parrot.data.records import IMAGE_TOKEN, Message, Role
from parrot.data.rejects import Rejected
from parrot.data.sources.fields import is_blank, one_of, refuse_unread
from parrot.data.sources.text import checked_text, system_message, without_images

ROLES: dict[str, Role] = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system",
    "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",  # in ShareGPT's files
    "model": "assistant", "developer": "system",  # Gemma's and OpenAI's
}  # fmt: skip

_NAMES = ("image", "image_url", "url", "path")
"""What a picture in a content list may be called."""
_HOW_LARGE = ("detail", "min_pixels", "max_pixels")
"""How it was to be read by the model that it was written for."""
_OF_TEXT, _OF_IMAGE = {"type", "text"}, {"type", *_NAMES, *_HOW_LARGE}
_OF_URL = {"url", *_HOW_LARGE}

FIRST_ANSWER = "answer without question dropped"
LAST_QUESTION = "unanswered question dropped"
JOINED = "turns of one side joined"
"""What is mended: counted under these names."""


class Talk(NamedTuple):
    messages: tuple[Message, ...]
    images: list[Any]
    """Pictures that stand in the turns themselves, as OpenAI's content lists have them."""
    mended: tuple[str, ...] = ()


class _Turn(NamedTuple):
    role: Role
    field: str
    content: Any


def read_talk(entry: dict[str, Any], form: Format) -> Talk:
    """The messages of an entry, led by its system message, if any.

    Raises:
        Rejected: names the field and what is wrong with it.
    """
    columns = form.columns
    field, listed = one_of(entry, *columns.messages)
    if not isinstance(listed, list):
        raise Rejected(field, f"wrong type: expected a list, found {type(listed).__name__}")
    turns = [_turn(turn, f"{field}[{place}]", form) for place, turn in enumerate(listed)]
    system = system_message(entry, columns.system)
    if turns and turns[0].role == "system":
        system, turns = _led(turns[0], system), turns[1:]
    if late := next((turn for turn in turns if turn.role == "system"), None):
        raise Rejected(late.field, "turns: a system message in the middle")
    turns, mended = _paired(turns)
    if not turns:
        raise Rejected(field, "turns: no question with an answer")
    images: list[Any] = []
    said = [(turn.role, _text(turn, images)) for turn in turns]
    if any(one.role == other.role for one, other in pairwise(turns)):
        said = [(role, "\n".join(text for _, text in same)) for role, same in groupby(said, itemgetter(0))]
        mended.append(JOINED)
    placed = [Message(role, placed_image(text) if role == "user" else text) for role, text in said]
    return Talk((*system, *placed), images, tuple(mended))


def _turn(turn: Any, field: str, form: Format) -> _Turn:
    columns = form.columns
    if not isinstance(turn, dict):
        raise Rejected(field, f"wrong type: expected an object, found {type(turn).__name__}")
    refuse_unread(turn, form.read_of_turn, f"{field}.")
    key, speaker = one_of(turn, *columns.role)
    role = form.roles.get(speaker) or ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise Rejected(f"{field}.{key}", f"turns: nobody is called {speaker!r:.40}; name its role in `roles`")
    key, content = one_of(turn, *columns.content)
    return _Turn(role, f"{field}.{key}", content)


def _led(turn: _Turn, given: tuple[Message, ...]) -> tuple[Message, ...]:
    """The system message of a first turn, which agrees with the one of the entry if that is `given`."""
    if is_blank(turn.content):
        return given
    message = Message("system", without_images(turn.content, turn.field))
    if given and given != (message,):
        raise Rejected(turn.field, "said twice: the entry has another system message")
    return (message,)


def _paired(turns: list[_Turn]) -> tuple[list[_Turn], list[str]]:
    """Without answers before the first question and questions after the last answer, and what was mended."""
    asks = [place for place, turn in enumerate(turns) if turn.role == "user"]
    answers = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    if not asks or not answers or asks[0] > answers[-1]:
        return [], []
    mended = [FIRST_ANSWER] if asks[0] > 0 else []
    mended += [LAST_QUESTION] if answers[-1] < len(turns) - 1 else []
    return turns[asks[0] : answers[-1] + 1], mended


def _text(turn: _Turn, images: list[Any]) -> str:
    content = turn.content
    if isinstance(content, list):
        content = "\n".join(
            _part(part, f"{turn.field}[{place}]", images) for place, part in enumerate(content)
        )
    if turn.role == "assistant":
        return without_images(content, turn.field)
    return checked_text(content, turn.field)


def _part(part: Any, field: str, images: list[Any]) -> str:
    """The text of one part of a content list; a picture is entered in `images`."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "input_text"):
        refuse_unread(part, _OF_TEXT, f"{field}.")
        return checked_text(part.get("text"), f"{field}.text")
    if kind in ("image", "image_url", "input_image"):
        refuse_unread(part, _OF_IMAGE, f"{field}.")
        named = next((key for key in _NAMES if not is_blank(part.get(key))), None)
        if named:  # a part without a name stands for the next of the entry's own images
            image = part[named]
            if isinstance(image, dict) and "url" in image:
                refuse_unread(image, _OF_URL, f"{field}.{named}.")
                image = image["url"]
            images.append(image)
        return IMAGE_TOKEN
    raise Rejected(field, f"medium not read: a part of the kind {kind!r:.40}")


def placed_image(text: str) -> str:
    """A question as the model reads it: a single image in front, several where they stand."""
    count = text.count(IMAGE_TOKEN)
    if count == 0:
        return text
    if count > 1:
        return text.strip()
    rest = text.replace(IMAGE_TOKEN, "").strip()
    return f"{IMAGE_TOKEN}\n{rest}" if rest else IMAGE_TOKEN
