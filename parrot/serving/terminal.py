"""A chat in the terminal, or answers for a script."""

import contextlib
import json
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parrot.errors import ParrotError
from parrot.serving.session import Session, open_session, read_picture

_HELP = """\
/image FILE  shows a picture with the next question
/new         starts again, without the questions and pictures so far
/help        says this, and which pictures are shown
Ctrl-C stops an answer, Ctrl-D ends the chat; the arrow keys edit a line and bring back earlier ones."""
_COMMAND = re.compile(r"/(\w+)(?:\s+(.+))?")
"""`/image FILE`; what goes on after the word otherwise, such as `/usr/bin`, is part of a question."""


def chat(
    folder: Path, images: Sequence[Path], prompt: str | None, max_new_tokens: int, *, as_json: bool
) -> None:
    """Answer `prompt` and return, or every line of standard input until it ends.

    With `as_json` each answer is one line of JSON: prompt, images, answer, seconds.

    Raises:
        ParrotError: no model, no such picture, or (of `prompt`, or input that is no terminal) a prompt
            or command that cannot be answered.
    """
    pictures = [(image, read_picture(image)) for image in images]  # before the model, which may take long
    talk = _Talk(open_session(folder, max_new_tokens), as_json, list(images))
    if prompt is not None:
        talk.ask(prompt)
        return
    typed = sys.stdin.isatty()
    if typed:
        _say(_HELP)
        for image, picture in pictures:
            _say(_described(image, picture))
    for line in _lines(typed):
        try:
            said = talk.take(line)
        except ParrotError as error:
            if not typed:
                raise
            said = str(error)
        if said and typed:
            _say(said)
        elif line == "/help":  # in a script of questions nothing else is worth a line between the answers
            print(said, file=sys.stderr if as_json else sys.stdout, flush=True)


@dataclass
class _Talk:
    """A session, and the files of its pictures."""

    session: Session
    as_json: bool
    waiting: list[Path]
    """For the next question."""
    shown: list[Path] = field(default_factory=list)
    """With earlier questions."""

    def take(self, line: str) -> str:
        """Do what a line asks for; what there is to say about it, besides an answer."""
        command = _COMMAND.fullmatch(line)
        if command is None:
            self.ask(line)
            return ""
        match command.groups():
            case "image", str(name):
                image = Path(name).expanduser()
                picture = read_picture(image)
                self.waiting.append(image)
                return _described(image, picture)
            case "new", None:
                self.session.forget()
                self.waiting, self.shown = [], []
                return "a new chat, without pictures"
            case "help", None:
                return f"{_HELP}\n{self._pictures()}"
            case "image", None:
                raise ParrotError("/image: name the file of a picture, as in `/image photo.jpg`")
            case ("new" | "help") as name, rest:
                raise ParrotError(f"/{name}: takes nothing after it, found '{rest}'")
            case _:
                raise ParrotError(f"/{command[1]}: no such command; there are /image FILE, /new and /help")

    def ask(self, prompt: str) -> None:
        """Answer on standard output."""
        began = time.perf_counter()
        with _interrupting(self.session):
            answer = self.session.answer(
                prompt, self.waiting, lambda text: None if self.as_json else _print(text)
            )
        if self.as_json:
            said: dict[str, Any] = {"prompt": prompt, "images": [str(image) for image in self.waiting]}
            said |= {"answer": answer, "seconds": round(time.perf_counter() - began, 3)}
            _print(json.dumps(said, ensure_ascii=False))
        _print("\n")
        self.shown, self.waiting = self.shown + self.waiting, []

    def _pictures(self) -> str:
        every = [*self.shown, *self.waiting]
        names = ", ".join(map(str, every))
        return f"pictures of this chat: {names}" if every else "no picture is shown"


def _described(image: Path, picture: Any) -> str:
    return f"{image} ({picture.width} × {picture.height} pixels) is shown with the next question"


def _print(text: str) -> None:
    print(text, end="", flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _interrupting(session: Session) -> Iterator[None]:
    """Ctrl-C ends the answer, not the program."""
    before = signal.signal(signal.SIGINT, lambda *_: session.stop.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _lines(typed: bool) -> Iterator[str]:
    """Lines of standard input, prompted for when a person types them."""
    if typed:
        with contextlib.suppress(ImportError):  # a Python may be built without it
            import readline  # noqa: F401  (`input` then edits lines and remembers them)
    while True:
        try:
            line = _typed_line() if typed else sys.stdin.readline()
        except KeyboardInterrupt:
            if not typed:
                raise
            _say("")
            continue
        if not line:
            return
        if line.strip():
            yield line.strip()


def _typed_line() -> str:
    """A line and its end, or nothing when there are no more."""
    if not sys.stdout.isatty():  # answers go to a file: the prompt must not
        print("> ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline()
    try:
        return input("> ") + "\n"
    except EOFError:
        _say("")
        return ""
