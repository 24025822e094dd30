"""Talks that are records as they stand: told column by column, so that nothing is done for each of them.

What is taken here `to_record` would take without a change. Whatever is odd is left to that, which knows all
rules and can say what is wrong: here is said only that nothing is.
"""

import io
import re
import sys
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from parrot.config import Format
from parrot.data.columns import Flags, Integers, Talks, as_bytes
from parrot.data.records import IMAGE_TOKEN, LOST
from parrot.data.sources.fields import is_about_entry
from parrot.data.sources.json_buffer import parse
from parrot.data.sources.text import CONTROL, LEFT_TO_RIGHT, RIGHT_TO_LEFT
from parrot.data.sources.turns import ROLES

_SCALARS = {str: pa.string(), bool: pa.bool_(), int: pa.float64(), float: pa.float64()}
_NAMES = {str: pa.string(), int: pa.int64()}
_LONG_NUMBER = re.compile(rb"\d{%d}" % (sys.get_int_max_str_digits() + 1))
"""Python reads none."""
_SPEAKERS = ("user", "assistant")
"""Who speaks, by turns."""
_ODD = (IMAGE_TOKEN, LOST, LEFT_TO_RIGHT, RIGHT_TO_LEFT)
_CONTROL = "[" + "".join(f"\\x{byte:02x}" for byte in CONTROL) + "]"


class PlainTalks(NamedTuple):
    """Some records, and which of the lines they were."""

    places: Integers
    names: pa.StringArray
    talk: Talks


class _Fields(NamedTuple):
    """What the lines hold, according to the first of them."""

    schema: pa.Schema
    numbers: bool
    id: str | None
    messages: str
    role: str
    content: str


def plain_talks(
    lines: bytes, count: int, position: int, form: Format, ignored: Set[str]
) -> PlainTalks | None:
    """The records among JSON lines that are the lines' own texts, unchanged; None if each line has to be
    looked at.

    Args:
        count: of the lines, each of which holds an object.
        position: of the first one among the entries of its source's file.
        ignored: fields that may be lost.
    """
    fields = _fields(lines[: lines.find(b"\n") + 1 or None], form, ignored)
    if fields is None or (fields.numbers and _LONG_NUMBER.search(lines)):
        return None
    try:
        # Fields that the first line does not have are an error, and so are values of other types, doubled
        # keys and halves of surrogate pairs.
        table = arrow_json.read_json(
            io.BytesIO(lines),
            arrow_json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            arrow_json.ParseOptions(explicit_schema=fields.schema, unexpected_field_behavior="error"),
        )
        table.validate(full=True)  # UTF-8
    except pa.ArrowInvalid:
        return None
    if len(table) != count:
        return None
    names = _names(table, fields.id, position)
    lists = table[fields.messages].combine_chunks()
    starts = lists.offsets.to_numpy().astype(np.int64)
    starts -= starts[0]
    speakers, texts = lists.flatten().flatten()
    turns = np.diff(starts)
    places = np.arange(len(texts)) - np.repeat(starts[:-1], turns)
    talk = Talks(starts, pa.array(_SPEAKERS).take(pa.array(places % 2)), texts)
    odd = (_who(speakers, form) != places % 2) | ~_says_something(texts)
    plain = (turns > 0) & (turns % 2 == 0) & (talk.sums(odd) == 0) & _are_usable(names)
    if not plain.all():
        kept = pa.array(np.repeat(plain, turns))
        starts = np.concatenate([[0], np.cumsum(turns[plain])])
        talk = Talks(starts, talk.roles.filter(kept), texts.filter(kept))
        names = names.filter(pa.array(plain))
    return PlainTalks(np.flatnonzero(plain), names, talk)


def _fields(line: bytes, form: Format, ignored: Set[str]) -> _Fields | None:
    """None if it is more than a talk and what is about it."""
    columns = form.columns
    try:
        entry = parse(line)
    except (ValueError, RecursionError):
        return None
    if form.rewrite or form.image or ignored & form.read or not isinstance(entry, dict):
        return None
    messages = _one(columns.messages, entry)
    turns = entry[messages] if messages else None
    turn = turns[0] if isinstance(turns, list) and turns else None
    if messages is None or not isinstance(turn, dict) or len(turn) != 2:
        return None
    role, content, name = _one(columns.role, turn), _one(columns.content, turn), _one(columns.id, entry)
    if role is None or content is None:
        return None
    kinds = {messages: pa.list_(pa.struct([(role, pa.string()), (content, pa.string())]))}
    for field, value in entry.items():
        if field == messages:
            continue
        lost = field in ignored or (field not in form.read and is_about_entry(field))
        kind = (_NAMES if field == name else _SCALARS if lost else {}).get(type(value))
        if kind is None or not field.isascii():
            return None
        kinds[field] = kind
    numbers = any(kind in (pa.int64(), pa.float64()) for kind in kinds.values())
    return _Fields(pa.schema(list(kinds.items())), numbers, name, messages, role, content)


def _one(names: Sequence[str], entry: Mapping[str, Any]) -> str | None:
    """The one of some names for the same that is there."""
    there = [name for name in names if name in entry]
    return there[0] if len(there) == 1 else None


def _names(table: pa.Table, field: str | None, position: int) -> pa.StringArray:
    numbers = pa.array(range(position, position + len(table))).cast(pa.string())
    return pc.coalesce(table[field].combine_chunks().cast(pa.string()), numbers) if field else numbers


def _are_usable(names: pa.StringArray) -> Flags:
    """Whether each is a name that is written as it stands; others may be, too."""
    ascii_alone = pc.and_(pc.string_is_ascii(names), pc.utf8_is_printable(names))
    return np.asarray(pc.and_(ascii_alone, pc.greater(pc.binary_length(names), 0)))


def _who(speakers: pa.StringArray, form: Format) -> Integers:
    """Of each turn the place in `_SPEAKERS` of who speaks; 2 if it is somebody else, or nobody knows who."""
    roles = ROLES | form.roles
    places = pc.fill_null(pc.index_in(speakers, pa.array(list(roles))), len(roles))
    of_role = {role: place for place, role in enumerate(_SPEAKERS)}
    found: Integers = np.array([*(of_role.get(role, 2) for role in roles.values()), 2])[places.to_numpy()]
    return found


def _says_something(texts: pa.StringArray) -> Flags:
    """Whether each surely is a text to be taken; nearly all are, which is soon seen of all together."""
    texts = texts.fill_null("")
    _, content = as_bytes(texts)
    together = content.decode()
    odd = pc.or_(pc.equal(pc.binary_length(texts), 0), pc.utf8_is_space(texts))
    if any(one in together for one in _ODD):
        odd = pc.or_(odd, pc.match_substring_regex(texts, "|".join(_ODD)))
    if len(content.translate(None, CONTROL)) < len(content):
        odd = pc.or_(odd, pc.match_substring_regex(texts, _CONTROL))
    return ~np.asarray(odd)
