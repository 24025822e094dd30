"""JSON lines, cut into pieces that are parsed elsewhere: only where a line ends is looked at here."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from parrot.data.columns import Integers
from parrot.data.sources.json_buffer import MAX_ENTRY, opened_bytes, parse
from parrot.data.sources.json_items import read_lines
from parrot.errors import ParrotError

_LINES, _BYTES = 500, 8 << 20
"""So many are together, or fewer from so many bytes on."""
_GOES_ON = re.compile(rb"\}[ \t\r]*[^ \t\r\n,\]}]")
"""What follows an object where another value does, and is in a text else, such as LaTeX."""


class Lines(NamedTuple):
    """Lines of a file that follow one another, each of which begins and ends as an object does."""

    file: Path
    start: int
    """Of its first byte in the file."""
    size: int
    """Of all lines, in bytes."""
    line: int
    """Number of the first one in the file, from 1."""
    position: int
    """Of the first one among the entries of the source's file, from 0."""
    number: int

    def read(self) -> bytes:
        with opened_bytes(self.file) as file:
            file.seek(self.start)
            return file.read(self.size)

    def entries(self, content: bytes) -> list[tuple[int, Any]]:
        """Position and entry of each of the lines, which it has read.

        Raises:
            ParrotError: they are no UTF-8, or no longer what they were when the file was cut.
        """
        items = list(read_lines(self.file, content, self.line))
        if len(items) != self.number:
            raise ParrotError(f"{self.file}: changed while it was read; try again")
        return list(enumerate(items, start=self.position))

    def some(self, content: bytes, places: Integers) -> list[tuple[int, Any]]:
        """Those of some lines."""
        each = content.split(b"\n") if len(places) else []
        found: list[tuple[int, Any]] = []
        for place in places.tolist():
            alone = self._replace(line=self.line + place, position=self.position + place, number=1)
            found += alone.entries(each[place])
        return found


class Rest(NamedTuple):
    """Where a file is no longer cut, because it is not of such lines: it has to be parsed to go on."""

    start: int
    line: int


def cut(file: Path, position: int, most: int) -> Iterator[Lines | Rest]:
    """Lines together, some hundreds at a time and, where the file does not go on so, the rest.

    Args:
        position: of the file's first entry among those of its source.
        most: none has entries on either side of a multiple of this.

    Raises:
        ParrotError: it cannot be read.
    """
    start, size, line, count, last = 0, 0, 1, 0, b""
    with opened_bytes(file) as opened:
        while content := opened.readline(MAX_ENTRY):
            if not _is_one_object(content):
                break
            if count and (count == _LINES or size > _BYTES or (position + count) % most == 0):
                yield Lines(file, start, size, line, position, count)
                start, size, line, position, count = start + size, 0, line + count, position + count, 0
            size, count, last = size + len(content), count + 1, content
        following = content
        while following and not following.strip():
            following = opened.readline(MAX_ENTRY)
    if count and following and not following.lstrip().startswith(b"{"):
        size, count, content = size - len(last), count - 1, last  # what follows may be a part of it
    if count:
        yield Lines(file, start, size, line, position, count)
    if content:
        yield Rest(start + size, line + count)


def _is_one_object(line: bytes) -> bool:
    """Whether a line is an object, or a broken one, and nothing else."""
    if not (line.startswith(b"{") and line.rstrip().endswith(b"}") and len(line) < MAX_ENTRY):
        return False
    return not _GOES_ON.search(line) or _is_json(line)


def _is_json(line: bytes) -> bool:
    try:
        parse(line)
    except (ValueError, RecursionError):
        return False
    return True
