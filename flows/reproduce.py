"""A stage brought up to date by DVC, in a process group of its own, seen as it goes on."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flows.console import Tell, console
from parrot.errors import ParrotError
from parrot.pipeline.graph import GraphStage, display_name
from parrot.pipeline.locks import is_locked, wait_for_lock
from parrot.pipeline.processes import end_group

_TAIL_LINES = 20
_RESTORED = re.compile(r"^Stage '.*' is cached - skipping run")
_UNCHANGED = re.compile(r"^(Stage )?'.*' didn't change, skipping")
_SAYS = re.compile(r"^(parrot|python -m [\w.]+)( \w+)?: ")
"""What a command puts in front of its sentence."""
_EXITED = re.compile(r"failed to run: .*, exited with (-?\d+)")

LOCK_FILE = Path(".dvc/tmp/parrot.lock")
"""Held by the run that works in this clone."""
UP_TO_DATE = ("done", "cached", "restored")
stopping = threading.Event()
"""Set while this process ends: what runs is ended, and nothing is begun."""
_running: list[subprocess.Popen[bytes]] = []


class StageFailed(ParrotError):
    """A stage ended badly; the sentence names it and gives its last words."""

    def __init__(self, stage: str, reason: str, *, passing: bool = False) -> None:
        super().__init__(f"{stage}: {reason}")
        self.passing = passing
        """It was killed: trying again may help. Bad input stays bad."""


@dataclass(frozen=True)
class Outcome:
    """What became of a stage."""

    state: str = "not run"
    """"done", "cached" (up to date), "restored" (from DVC's run cache), "failed" or "not run"."""
    seconds: float = 0.0


def stop_all() -> None:
    """End every process group that runs, and let none begin."""
    stopping.set()
    for process in _running.copy():
        end_group(process)


def reproduce(
    stage: GraphStage, log: Tell, log_bar: Tell, *, force: bool = False, pull: bool = False
) -> Outcome:
    """`dvc repro --single-item`, once other DVC processes leave the stage's files alone.

    Args:
        log: is told every line of the stage.
        log_bar: is told every state of its progress bars.
        force: also if nothing has changed.
        pull: outputs that the run cache names may come from the remote.

    Raises:
        StageFailed: with the stage's last words.
    """
    began = time.monotonic()
    shown = display_name(stage.name)
    options = [*(["--force"] if force else []), *(["--pull"] if pull else [])]
    command = ["dvc", "--wait-for-lock", "repro", "--single-item", *options, stage.name]

    @cache
    def say_once(text: str) -> None:
        console.line(text, shown)
        log(text)

    while True:
        code, state, tail = _follow(command, shown, log, log_bar, stage.timeout_minutes)
        if code is None:
            raise StageFailed(
                shown, f"took more than {stage.timeout_minutes:g} minutes (dvc.yaml: meta, timeout_minutes)"
            )
        if code == 0:
            return Outcome(state, time.monotonic() - began)
        words = "\n".join(tail)
        if stopping.is_set() or _EXITED.search(words) or not is_locked(words):
            failure = _failure(shown, code, tail)
            failure.passing &= not stopping.is_set()
            raise failure
        try:
            wait_for_lock(words, say_once, lambda: not stopping.is_set())
        except ParrotError as error:
            raise StageFailed(shown, str(error)) from None


def travel(action: str, stage: GraphStage, log: Tell, *rest: str) -> str:
    """`python -m parrot.pipeline.travel`, which takes files to and from a DVC remote: its last line.

    Raises:
        StageFailed: the remote cannot be reached, hangs or lacks something; it may be back the next time.
    """
    shown, limit = display_name(stage.name), stage.timeout_minutes
    command = ["parrot.pipeline.travel", action, stage.name, *rest]
    code, _, tail = _follow(command, shown, log, lambda _: None, limit)
    if code == 0:
        return tail[-1] if tail else ""
    if code is None:
        failure = StageFailed(shown, f"its files took more than {limit:g} minutes to or from the DVC remote")
    else:
        failure = _failure(shown, code, tail)
    failure.passing = not stopping.is_set()
    raise failure


def _follow(
    module: list[str], shown: str, log: Tell, log_bar: Tell, minutes: float | None = None
) -> tuple[int | None, str, list[str]]:
    """Run a Python module in a process group of its own: its exit code, what DVC did, its last lines.

    The exit code is None if it was ended because it took more than so many minutes.
    """
    width = {"COLUMNS": str(shutil.get_terminal_size((100, 24)).columns), "LINES": "24"}
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | width | {"PYTHONUNBUFFERED": "1"}, process_group=0,
    )  # fmt: skip
    _running.append(process)
    if stopping.is_set():
        end_group(process)
    is_late = threading.Event()

    def end_late() -> None:
        is_late.set()
        end_group(process)

    limit = threading.Timer(60 * (minutes or 0), end_late)
    if minutes:
        limit.start()
    assert process.stdout
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    state = "done"
    try:
        for line in console.follow(process.stdout.fileno(), shown, log, log_bar):
            tail.append(line)
            state = "cached" if _UNCHANGED.match(line) else "restored" if _RESTORED.match(line) else state
        code = process.wait()
        return (None if is_late.is_set() else code), state, list(tail)
    finally:
        limit.cancel()
        end_group(process)  # what a killed stage has left behind
        process.stdout.close()
        _running.remove(process)


def _failure(stage: str, code: int, tail: list[str]) -> StageFailed:
    """What to say of a stage that made DVC exit with `code`, told by its last lines."""
    text = "\n".join(tail)
    match = _EXITED.search(text)
    status = int(match.group(1)) if match else code
    number = -status if status < 0 else status - 128
    if number in signal.valid_signals():
        try:
            name = signal.Signals(number).name
        except ValueError:  # one of Linux's real-time signals
            name = f"signal {number}"
        hint = " (often: out of memory)" if number == signal.SIGKILL else ""
        return StageFailed(stage, f"killed by {name}{hint}", passing=True)
    words = [line for line in tail if line.strip() and not line.startswith(">")]
    said = [line for line in words if not line.startswith("ERROR: failed to reproduce")]
    last = (said or words or ["failed without a word"])[-1].strip()
    return StageFailed(stage, _SAYS.sub("", last))
