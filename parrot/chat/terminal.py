"""A chat in the terminal, or answers for a script."""

import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from parrot.chat.session import Session, open_session, read_picture
from parrot.errors import ParrotError

_HELP = "/image FILE shows a picture, /new starts again, Ctrl-C stops an answer, Ctrl-D ends the chat"


def chat(
    folder: Path, images: Sequence[Path], prompt: str | None, max_new_tokens: int, *, as_json: bool
) -> None:
    """Answer `prompt` and return, or every line of standard input until it ends.

    With `as_json` each answer is one line of JSON: prompt, images, answer, seconds.

    Raises:
        ParrotError: no model, no such picture, or (of `prompt`, or input that is no terminal) a prompt
            that cannot be answered.
    """
    for image in images:
        read_picture(image)  # before the model is loaded, which may take long
    session = open_session(folder, max_new_tokens)
    waiting = list(images)
    if prompt is not None:
        _answer(session, prompt, waiting, as_json)
        return
    typed = sys.stdin.isatty()
    if typed:
        print(_HELP, file=sys.stderr)
    for line in _lines(typed):
        try:
            if line == "/new":
                session.forget()
                waiting = []
            elif line.startswith("/image "):
                image = Path(line.removeprefix("/image ").strip())
                read_picture(image)
                waiting.append(image)
            else:
                _answer(session, line, waiting, as_json)
                waiting = []
        except ParrotError as error:
            if not typed:
                raise
            print(error, file=sys.stderr)


def _answer(session: Session, prompt: str, images: list[Path], as_json: bool) -> None:
    began = time.perf_counter()
    with _interrupting(session):
        answer = session.answer(prompt, images, lambda text: None if as_json else _print(text))
    if as_json:
        said: dict[str, Any] = {"prompt": prompt, "images": [str(image) for image in images]}
        said |= {"answer": answer, "seconds": round(time.perf_counter() - began, 3)}
        _print(json.dumps(said, ensure_ascii=False) + "\n")
    else:
        _print("\n")


def _print(text: str) -> None:
    print(text, end="", flush=True)


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
    while True:
        try:
            if typed:
                print("> ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            if not typed:
                raise
            print(file=sys.stderr)
            continue
        if not line:
            return
        if line.strip():
            yield line.strip()
