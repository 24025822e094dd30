"""A stage of dvc.yaml as a Prefect task."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.console import Console, Tell
from flows.server import StageProgress
from parrot.errors import ParrotError
from parrot.pipeline.graph import display_name
from parrot.pipeline.locks import is_locked, wait_for_lock
from parrot.pipeline.processes import end_group

_TAIL_LINES = 20
_RESTORED = re.compile(r"^Stage '.*' is cached - skipping run")
_UNCHANGED = re.compile(r"^(Stage )?'.*' didn't change, skipping")
_SAYS = re.compile(r"^(parrot|python -m [\w.]+)( \w+)?: ")
"""What a command puts in front of its sentence."""
_EXITED = re.compile(r"failed to run: .*, exited with (-?\d+)")


class StageFailed(ParrotError):
    """A stage ended badly; the sentence names it and gives its last words."""

    def __init__(self, stage: str, reason: str, *, passing: bool = False) -> None:
        super().__init__(f"{stage}: {reason}")
        self.passing = passing
        """It was killed: trying again may help. Bad input stays bad."""


@dataclass
class Outcome:
    """What became of a stage, for the summary."""

    state: str = "not run"
    """"done", "cached" (up to date), "restored" (from DVC's run cache), "failed" or "not run"."""
    seconds: float = 0.0


class Runner:
    """The processes and results of one pipeline run, shared by its tasks."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.outcomes: dict[str, Outcome] = {}
        self.stopping = False
        self._processes: list[subprocess.Popen[bytes]] = []

    def run(self, stage: str, log: Tell, log_bar: Tell) -> Outcome:
        """`dvc repro --single-item`, once other DVC processes leave the stage's files alone.

        Args:
            stage: its address.
            log: is told every line of the stage.
            log_bar: is told every state of its progress bars.

        Raises:
            StageFailed: with the stage's last words.
        """
        began = time.monotonic()

        @cache
        def say_once(text: str) -> None:
            self.console.line(text, display_name(stage))
            log(text)

        while True:
            code, state, tail = self._repro(stage, log, log_bar)
            words = "\n".join(tail)
            self.outcomes[stage] = Outcome(state if code == 0 else "failed", time.monotonic() - began)
            if code == 0:
                return self.outcomes[stage]
            if self.stopping or _EXITED.search(words) or not is_locked(words):
                failure = _failure(display_name(stage), code, tail)
                failure.passing &= not self.stopping
                raise failure
            try:
                wait_for_lock(words, say_once, lambda: not self.stopping)
            except ParrotError as error:
                raise StageFailed(display_name(stage), str(error)) from None

    def _repro(self, stage: str, log: Tell, log_bar: Tell) -> tuple[int, str, list[str]]:
        """Run DVC in a process group of its own: its exit code, what it did, its last lines."""
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage]
        width = {"COLUMNS": str(shutil.get_terminal_size((100, 24)).columns), "LINES": "24"}
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=os.environ | width | {"PYTHONUNBUFFERED": "1"}, process_group=0,
        )  # fmt: skip
        self._processes.append(process)
        if self.stopping:
            end_group(process)
        assert process.stdout
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        state = "done"
        try:
            for line in self.console.follow(process.stdout.fileno(), display_name(stage), log, log_bar):
                tail.append(line)
                state = "cached" if _UNCHANGED.match(line) else "restored" if _RESTORED.match(line) else state
            return process.wait(), state, list(tail)
        finally:
            end_group(process)  # what a killed stage has left behind
            process.stdout.close()
            self._processes.remove(process)

    def stop(self) -> None:
        """End every running stage."""
        self.stopping = True
        for process in list(self._processes):
            end_group(process)


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


def _may_retry(_task: Any, _run: Any, state: State[Any]) -> bool:
    return isinstance(state.data, StageFailed) and state.data.passing


# DVC is the cache. Results of this run live in `Runner`.
@task(retries=1, retry_delay_seconds=1, retry_condition_fn=_may_retry, cache_policy=NO_CACHE)
def run_stage(runner: Runner, stage: str) -> State[Any]:
    """Bring one stage up to date."""
    progress = StageProgress(display_name(stage))
    outcome = runner.run(stage, get_run_logger().info, progress.bar)
    progress.end()
    return Completed(name=outcome.state.capitalize(), message=f"{outcome.state}, {outcome.seconds:.0f} s")
