"""Stream the entries of a JSON list or of JSON lines, with a bounded buffer."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parrot.data.sources.json_buffer import BrokenJson, Buffer, fail_decoding, opened


@dataclass(frozen=True)
class Unreadable:
    """Stands for a line that holds no JSON."""

    reason: str
    """`kind: detail`, as of a reject."""
    text: str = ""

    def __str__(self) -> str:
        return self.text


def read_items(path: Path | str) -> Iterator[Any]:
    """The entries of a file that holds one JSON list, or JSON values one behind the other, as on lines.

    A broken line between lines that hold objects is an `Unreadable`: it takes no other with it.

    Raises:
        ParrotError: the file is missing or broken; names line and column.
    """
    with opened(Path(path)) as buffer:
        yield from _items(buffer)


def read_rest(path: Path, start: int, line: int) -> Iterator[Any]:
    """The entries from a byte on, where a line begins; as `read_items` reads JSON lines."""
    with opened(path, start, line) as buffer:
        yield from _values(buffer)


def read_lines(path: Path, content: bytes, line: int) -> Iterator[Any]:
    """The entries in some lines of a file, whose first has the number `line`; as `read_items` reads them.

    Raises:
        ParrotError: they are no UTF-8.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        fail_decoding(path)
    yield from _values(Buffer(path, io.StringIO(text, newline=None), line))


def read_texts(path: Path) -> Iterator[str]:
    """The entries of `read_items`, each as it stands in the file."""
    with opened(path) as buffer:
        for _ in _items(buffer):
            yield buffer.taken


def _items(buffer: Buffer) -> Iterator[Any]:
    if buffer.peek() == "[":
        yield from _list_items(buffer)
        buffer.expect_end("the list")
    else:
        yield from _values(buffer)


def _values(buffer: Buffer) -> Iterator[Any]:
    """JSON lines."""
    while buffer.peek():
        try:
            item = buffer.value()
        except BrokenJson as error:
            if not buffer.skip_line():
                raise
            item = Unreadable(f"broken JSON: {error.place}: {error.problem}", buffer.taken)
        yield item


def read_members(path: Path | str) -> Iterator[tuple[str, Any]]:
    """Key and value of a JSON object; of a list each of its items, so that it is not held whole.

    Raises:
        ParrotError: the file is missing, broken, or holds no object; names line and column.
    """
    with opened(Path(path)) as buffer:
        separator = buffer.take("{", "expected an object")
        if buffer.peek() == "}":
            separator = buffer.take("}", "")
        while separator != "}":
            key = buffer.value()
            if not isinstance(key, str):
                buffer.fail("expected a key")
            buffer.take(":", "expected ':' after a key")
            if buffer.peek() == "[":
                yield from ((key, item) for item in _list_items(buffer))
            else:
                yield key, buffer.value()
            separator = buffer.take(",}", "expected ',' or '}' after a value")
        buffer.expect_end("the object")


def _list_items(buffer: Buffer) -> Iterator[Any]:
    separator = buffer.take("[", "expected a list")
    if buffer.peek() == "]":
        separator = buffer.take("]", "")
    while separator != "]":
        yield buffer.value()
        separator = buffer.take(",]", "expected ',' or ']' after an entry")
