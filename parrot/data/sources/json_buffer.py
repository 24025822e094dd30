"""A window on a JSON text that is as long as it need be, and a value of it at a time."""

import codecs
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TextIO

from parrot.errors import ParrotError

CHUNK = 1 << 20
"""Characters read at a time."""
MAX_ENTRY = 64 << 20
"""Characters of one entry; more means that a quote or bracket is never closed."""

DOUBLED = "\0twice"
"""A key, which no JSON of a publisher has, under which those stand that an object names twice."""


def _whole(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; JSON's reader alone would lose the first value of a key in silence."""
    tree = dict(pairs)
    if len(tree) < len(pairs):
        tree[DOUBLED] = sorted(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return tree


def parse(content: bytes) -> Any:
    """A JSON text, as entries are read.

    Raises:
        ValueError, RecursionError: it is none, or nested too deeply.
    """
    return json.loads(content, object_pairs_hook=_whole)


_DECODER = json.JSONDecoder(object_pairs_hook=_whole)
_SPACE = re.compile(r"[ \t\r\n]*")
# A word or an escape cut by the end of the buffer: `-Infinity` has nine characters, `\ud83d\ude00` twelve.
_CUT = 16


class BrokenJson(ParrotError):
    def __init__(self, path: Path, line: int, column: int, problem: str) -> None:
        self._told = path, line, column, problem
        self.place = f"line {line}, column {column}"
        self.problem = problem
        super().__init__(f"{path}: {self.place}: broken JSON: {problem}; correct the file or fetch it again")

    def __reduce__(self) -> tuple[Any, ...]:
        """It comes from other processes, too."""
        return BrokenJson, self._told


@contextmanager
def opened(path: Path, start: int = 0, line: int = 1) -> Iterator["Buffer"]:
    with opened_bytes(path) as file:
        file.seek(start)
        encoding = "utf-8" if start else "utf-8-sig"
        yield Buffer(path, io.TextIOWrapper(file, encoding), line)


@contextmanager
def opened_bytes(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise ParrotError(f"{path}: not found; `parrot data` fetches or makes the demo data") from None
    except UnicodeDecodeError:
        fail_decoding(path)
    except OSError as error:  # a folder, no permission
        raise ParrotError(f"{path}: cannot be read as a file ({error.strerror})") from None


class Buffer:
    """A window on a text file: `text[position:]` is not yet consumed."""

    def __init__(self, path: Path, file: TextIO, line: int = 1) -> None:
        self.position = 0
        self.taken = ""
        """The value or line that was consumed last, as it stands in the file."""
        self._path = path
        self._file = file
        self._text = ""
        self._ended = False
        self._line = line  # of the window's first character, counted from 1, …
        self._column = 1  # … like its column

    def peek(self) -> str:
        """The next character that is no white space, not consumed; empty at the end of the file."""
        while True:
            self.position = _end_of_space(self._text, self.position)
            if self.position < len(self._text):
                return self._text[self.position]
            if self._ended:
                return ""
            self._grow()

    def value(self) -> Any:
        """Consume one JSON value."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self.position)
            except json.JSONDecodeError as error:
                cut = error.pos > len(self._text) - _CUT or error.msg.startswith("Unterminated string")
                if not cut or self._ended:
                    self.fail(error.msg, error.pos)
            except (RecursionError, ValueError) as error:
                self.fail(_unusable(error))
            else:
                # `12` may go on as `123` or `12.5e3`: a value counts once enough follows it.
                if end + _CUT <= len(self._text) or self._ended:
                    self.taken, self.position = self._text[self.position : end], end
                    return value
            if len(self._text) - self.position > MAX_ENTRY:
                self.fail(f"an entry of more than {MAX_ENTRY >> 20} million characters begins here")
            self._grow()

    def skip_line(self) -> bool:
        """Go behind a line that begins with an object, if the next does so too, or nothing follows."""
        while (end := self._text.find("\n", self.position)) < 0 and not self._ended:
            if len(self._text) - self.position > MAX_ENTRY:
                return False
            self._grow()
        if self.peek() != "{":
            return False
        end = end if end >= 0 else len(self._text)
        self.taken, self.position = self._text[self.position : end].rstrip(), end
        return self.peek() in ("", "{")

    def take(self, wanted: str, problem: str) -> str:
        """Consume the next character, which is one of those that are `wanted`."""
        found = self.peek()
        if not found or found not in wanted:
            self.fail(problem)
        self.position += 1
        return found

    def expect_end(self, of: str) -> None:
        if self.peek():
            self.fail(f"text after {of}")

    def fail(self, problem: str, position: int | None = None) -> NoReturn:
        line, column = self._place(self.position if position is None else position)
        raise BrokenJson(self._path, line, column, problem)

    def _grow(self) -> None:
        """Drop what is consumed and read on."""
        self._line, self._column = self._place(self.position)
        self._text, self.position = self._text[self.position :], 0
        # Twice as much each time, so that a long entry is not scanned from its start too often.
        more = self._file.read(max(CHUNK, len(self._text)))
        self._text += more
        self._ended = not more

    def _place(self, position: int) -> tuple[int, int]:
        """Line and column of a character of the window."""
        return _place_after(self._line, self._column, self._text, position)


def _end_of_space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _unusable(error: RecursionError | ValueError) -> str:
    """What is wrong with an entry that is JSON and yet cannot be held."""
    if isinstance(error, RecursionError):
        return "the entry that begins here is nested too deeply"
    return f"the entry that begins here holds a number of more than {sys.get_int_max_str_digits()} digits"


def _place_after(line: int, column: int, text: str, end: int) -> tuple[int, int]:
    """Line and column of `text[end]`, where `text[0]` stands at `line` and `column`."""
    newlines = text.count("\n", 0, end)
    if newlines:
        return line + newlines, end - text.rindex("\n", 0, end)
    return line, column + end


def fail_decoding(path: Path) -> NoReturn:
    """Name the first place where the file is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line, column = 1, 1
    with path.open("rb") as file:
        chunk = b"to begin with"
        while chunk:
            chunk = file.read(CHUNK)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                text = error.object[: error.start].decode()
                line, column = _place_after(line, column, text, len(text))
                raise ParrotError(
                    f"{path}: line {line}, column {column}: not UTF-8 ({error.reason}); convert the file"
                ) from None
            line, column = _place_after(line, column, text, len(text))
    raise ParrotError(f"{path}: changed while it was read; try again")
