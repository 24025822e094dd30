"""An entry, as its format describes it -> a record."""

import hashlib
from typing import Any

from parrot.config import Format
from parrot.data.images import ImageStore, decode_base64_image
from parrot.data.records import IMAGE_TOKEN, Image, Message, Record, count_images
from parrot.data.rejects import Rejected
from parrot.data.sources.fields import is_blank, one_of, refuse_unread
from parrot.data.sources.json_items import Unreadable
from parrot.data.sources.odd import REWRITES
from parrot.data.sources.text import checked_text, entry_id, system_message, without_images
from parrot.data.sources.turns import Talk, placed_image, read_talk

_LONG_NAME = 255
"""No file system has a longer one: what is longer is a picture in base64."""


def to_record(
    entry: Any, number: int, language: str, source: str, store: ImageStore | None, form: Format
) -> Record:
    """Entry `number` of the file, counted from 0, as a record.

    Raises:
        Rejected: names the field and what is wrong with it.
    """
    if isinstance(entry, Unreadable):
        raise Rejected("", entry.reason)
    if not isinstance(entry, dict):
        raise Rejected("", f"wrong type: expected an object, found {type(entry).__name__}")
    columns = form.columns
    name = entry_id(entry, number, columns.id)
    if form.ignore:
        entry = {key: value for key, value in entry.items() if key not in form.ignore}
    if form.rewrite:
        entry = REWRITES[form.rewrite](entry, number)
    refuse_unread(entry, form.read)
    images = _image_names(entry, form)
    talk = read_talk(entry, form) if columns.messages else _asked(entry, number, form, len(images))
    if images and talk.images:
        raise Rejected(
            "",
            "said twice: the entry names images, and so do parts of its turns: which stands where, nobody "
            "says; name all of them in the parts, or none",
        )
    images += talk.images
    placeholders = count_images(talk.messages)
    if placeholders != len(images):
        field, _ = one_of(entry, *(columns.messages or columns.prompt or columns.response))
        raise Rejected(field, f"placeholders: {placeholders} {IMAGE_TOKEN} for {len(images)} images")
    pictures = tuple(_image(image, store) for image in images)
    return Record(name, source, language, talk.messages, pictures, talk.mended)


def _asked(entry: dict[str, Any], number: int, form: Format, images: int) -> Talk:
    """Questions and answers; images stand in front of the first question unless it says where."""
    columns = form.columns
    asked, prompts = (
        one_of(entry, *columns.prompt) if columns.prompt else ("", form.ask[number % len(form.ask)])
    )
    if not columns.prompt and columns.images and not images:
        raise Rejected(columns.images[0], "missing image: the entry is about a picture and names none")
    answered, responses = one_of(entry, *columns.response)
    if not isinstance(prompts, list) or not isinstance(responses, list):
        prompts, responses = [prompts], [responses]
    if len(prompts) != len(responses) or not prompts:
        raise Rejected(answered, f"turns: {len(prompts)} questions and {len(responses)} answers")
    messages: list[Message] = []
    for prompt, response in zip(prompts, responses, strict=True):
        question = checked_text(prompt, asked)
        if columns.query and not messages:
            query, more = one_of(entry, *columns.query)
            question += "" if is_blank(more) else "\n" + checked_text(more, query)
        messages += [
            Message("user", question),
            Message("assistant", without_images(response, answered)),
        ]
    if images and not any(IMAGE_TOKEN in message.content for message in messages):
        messages[0] = Message("user", f"{IMAGE_TOKEN}\n" * images + messages[0].content)
    placed = (Message("user", placed_image(one.content)) if one.role == "user" else one for one in messages)
    return Talk((*system_message(entry, columns.system), *placed), [])


def _image_names(entry: dict[str, Any], form: Format) -> list[Any]:
    if form.image is not None:
        try:
            return [form.image.format_map(entry)]
        except KeyError as error:
            raise Rejected(str(error.args[0]), "missing image: the field is a part of its name") from None
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            raise Rejected("", f"wrong type: no picture's name is made of it: {error}") from None
    if not form.columns.images:
        return []
    field, value = one_of(entry, *form.columns.images)
    images = value if isinstance(value, list) else [value]
    for image in images:
        if not isinstance(image, str | bytes | dict | None) and not is_blank(image):
            raise Rejected(field, f"wrong type: expected text, found {type(image).__name__}")
    return [image for image in images if not is_blank(image)]


def _is_base64(text: str) -> bool:
    return text[:5].lower() == "data:" or (len(text) > _LONG_NAME and "." not in text)


def _image(given: Any, store: ImageStore | None) -> Image:
    """A picture by its name, or one that is itself in the entry."""
    if isinstance(given, dict):  # as the Hub's data sets have them
        refuse_unread(given, {"bytes", "path"}, "image.")
        encoded, name = given.get("bytes"), given.get("path")
    else:
        encoded, name = (given, None) if isinstance(given, bytes) else (None, given)
    if isinstance(name, str) and _is_base64(name):
        try:
            encoded, name = decode_base64_image(name), None
        except ValueError as error:
            raise Rejected("image", f"unreadable image: {error}") from None
    if isinstance(encoded, bytes) and isinstance(name, str | None):
        return Image(name or hashlib.sha256(encoded).hexdigest()[:16], encoded)
    name = checked_text(name, "image")
    if name.startswith(("http://", "https://")):
        raise Rejected("image", f"missing image: {name:.80} is on the web; fetch it, and name the file")
    if store is None:
        raise Rejected("image", "missing image: params.yaml names no `images` for this source")
    return Image(name, store.read(name))
