"""`parrot chat` as a person types into it, through a terminal of its own."""

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_cases import Build
from PIL import Image

from parrot.model.registered import ParrotProcessor

pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")

UP, LEFT, BACKSPACE, HOME, END = "\x1b[A", "\x1b[D", "\x7f", "\x01", "\x05"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A chat at the other end of a pseudo-terminal."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._master, slave = pty.openpty()
        utf8 = {"LC_ALL": "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8", "TERM": "xterm"}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=os.environ | utf8,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)

    def until(self, end: str) -> str:
        """What is shown up to and with `end`."""
        shown, deadline = b"", time.monotonic() + 120
        while not (text := ESCAPES.sub("", shown.decode(errors="ignore"))).endswith(end):
            if not select.select([self._master], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"waited for {end!r}, found {text!r}")
            try:
                shown += os.read(self._master, 4096)
            except OSError:  # Linux: nobody holds the other end
                raise AssertionError(f"ended before {end!r}: {text!r}") from None
        return text.replace("\r", "")

    def type(self, keys: str) -> str:
        """Type a line; what is shown until the next prompt."""
        os.write(self._master, (keys + "\n").encode())
        return self.until("\n> ")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(build: Build, processor: ParrotProcessor, tmp_path: Path) -> Iterator[Terminal]:
    build().save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "red one.png")
    parrot = [sys.executable, "-c", "from parrot.cli import main; main()"]
    command = [*parrot, "chat", "--model=model", "--json", "--max-new-tokens=2"]
    opened = Terminal(command, tmp_path)
    yield opened
    opened.close()


def test_lines_are_edited_and_remembered_and_commands_are_answered(terminal: Terminal) -> None:
    assert "/image FILE" in terminal.until("> ")

    def prompt(keys: str) -> str:
        shown = terminal.type(keys)
        line = next(line for line in shown.splitlines() if line.startswith("{"))
        return str(json.loads(line)["prompt"])

    assert prompt("这是红的吗" + BACKSPACE * 2 + "？") == "这是红？"
    assert prompt("hat is red?" + HOME + "W" + END + LEFT + "der") == "What is redder?"
    assert prompt(UP * 2) == "这是红？"
    assert prompt("/usr/bin is a folder?") == "/usr/bin is a folder?"
    assert "/imge: no such command; there are /image FILE, /new and /help" in terminal.type("/imge red.png")
    assert "no picture is shown" in terminal.type("/help")
    assert "red one.png (40 × 30 pixels) is shown with the next question" in terminal.type(
        "/image red one.png"
    )
    assert "blue.png: No such file" in terminal.type("/image blue.png")
    assert prompt("What is red?") == "What is red?"
    assert "pictures of this chat: red one.png" in terminal.type("/help")
    assert "without pictures" in terminal.type("/new")
    assert "no picture is shown" in terminal.type("/help")
    os.write(terminal._master, b"\x04")
    assert terminal.process.wait(timeout=20) == 0
