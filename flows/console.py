"""Output of several stages on one console: readable with progress bars and with stages in parallel."""

import codecs
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from parrot.credentials import without_secrets

# What DVC says around every stage; in the middle of a pipeline run it only hides the stage's own words.
_DVC_CHATTER = re.compile(
    r"^(Generating lock file|Updating lock file|To track the changes with git|\s+git add "
    r"|To enable auto staging|\s+dvc config core\.autostage|Use `dvc push`|Data and pipelines are up to date"
    r"|(Stage )?'.*' didn't change, skipping|\s*$)"
)
Tell = Callable[[str], object]

_CLEAR_LINE = "\r\x1b[K"
_BAR_SECONDS = 15.0
"""How often a progress bar becomes a line, where it cannot be redrawn in place."""


def _nobody(_text: str) -> None:
    pass


class Console:
    """Writes whole lines from several threads; a bar is redrawn in place if it is alone on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._given = stream
        self._lock = threading.Lock()
        self._bar_shown = False
        self._bar_times: dict[str, float] = {}
        self.stages: set[str] = set()
        """Those now running; with more than one, every line begins with its stage."""

    @property
    def _stream(self) -> TextIO:
        return self._given or sys.stdout

    def line(self, text: str, stage: str = "") -> None:
        with self._lock:
            self._clear_bar()
            self._stream.write(f"{self._prefix(stage)}{text}\n")
            self._stream.flush()

    def bar(self, text: str, stage: str) -> None:
        """One state of a progress bar."""
        if self._stream.isatty() and len(self.stages) < 2:
            with self._lock:
                self._stream.write(_CLEAR_LINE + text)
                self._stream.flush()
                self._bar_shown = True
        elif time.monotonic() - self._bar_times.get(stage, -_BAR_SECONDS) >= _BAR_SECONDS:
            self._bar_times[stage] = time.monotonic()
            self.line(text, stage)

    def follow(
        self, descriptor: int, stage: str, log: Tell = _nobody, log_bar: Tell = _nobody
    ) -> Iterator[str]:
        """Show what comes from a pipe until it is closed; yields the lines, bars left out.

        Args:
            log: is told every line that is shown.
            log_bar: is told every state of a bar.
        """
        for text, is_bar in _segments(descriptor):
            text = without_secrets(text)  # DVC names its remotes, libraries the address that fails
            if is_bar:
                if text.strip():
                    self.bar(text, stage)
                    log_bar(text)
                continue
            if not _DVC_CHATTER.match(text):
                self.line(text, stage)
                log(text)
            yield text

    def _prefix(self, stage: str) -> str:
        return f"[{stage}] " if stage and len(self.stages) > 1 else ""

    def _clear_bar(self) -> None:
        if self._bar_shown:
            self._stream.write(_CLEAR_LINE)
            self._bar_shown = False


console = Console()
"""Of this process: whatever runs in it writes to one standard output."""


def _segments(descriptor: int) -> Iterator[tuple[str, bool]]:
    """Text up to each line feed, or up to each carriage return (True: a bar that is being redrawn)."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    while chunk := os.read(descriptor, 65536):
        *whole, rest = re.split(r"(\r\n|\n|\r(?!\Z))", rest + decoder.decode(chunk))
        for text, end in zip(whole[::2], whole[1::2], strict=True):
            yield text, end == "\r"
        # A lone \r at the end may be half of \r\n, but a bar that ends in it must still be shown.
    if rest.strip():
        yield rest.rstrip("\r"), False
