"""Processes that end together, and the lock that lets one pipeline run at a time.

DVC starts a stage through a shell and does not stop it when DVC itself is stopped, so a stage
watches the processes it works for and ends with them.
"""

import atexit
import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psutil

from parrot.errors import ParrotError

FLOW_VARIABLE = "PARROT_FLOW"
"""Set by the flow to its own identity; everything that descends from the flow carries it."""

GRACE_SECONDS = 1.0
"""Between being asked to end and being killed."""

_guards: list[subprocess.Popen[bytes]] = []


def identity(process: psutil.Process | None = None) -> str:
    """`pid-start` of a process (this one by default): unlike the pid alone it is never reused."""
    process = process or psutil.Process()
    return f"{process.pid}-{process.create_time():.2f}"


def find_process(name: str) -> psutil.Process | None:
    """The living process with this `identity`, or None."""
    pid, _, started = name.partition("-")
    try:
        process = psutil.Process(int(pid))
        # Start times are derived from the clock, which may have been set meanwhile.
        same = abs(process.create_time() - float(started)) < 2
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.NoSuchProcess, ValueError):
        return None


def dvc_process() -> psutil.Process | None:
    """The DVC process that runs this process as a stage, or None.

    DVC sets DVC_STAGE for the command it starts and not for itself, so DVC is the nearest
    ancestor without it, whichever way it was called.
    """
    if "DVC_STAGE" not in os.environ:
        return None
    for ancestor in psutil.Process().parents():
        try:
            if "DVC_STAGE" not in ancestor.environ():
                return ancestor
        except psutil.Error:
            return None
    return None


def end_with_parents() -> None:
    """Make this process and its children end soon after the DVC or flow process above it.

    Does nothing in a process that neither of them started. The end comes as SIGTERM, turned into
    `SystemExit`, so that temporary files are removed; after `GRACE_SECONDS` it comes as SIGKILL.
    """
    watched = _watched_ancestors()
    if not watched:
        return
    signal.signal(signal.SIGTERM, _exit_on_signal)
    threading.Thread(target=_watch, args=(watched,), name="end-with-parents", daemon=True).start()


def _exit_on_signal(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    atexit.register(_kill_children)
    raise SystemExit(128 + number)


def _kill_children() -> None:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()


def _watched_ancestors() -> list[psutil.Process]:
    """All ancestors up to DVC or the flow, whichever is further up."""
    dvc, flow = dvc_process(), None
    if name := os.environ.get(FLOW_VARIABLE):
        flow = find_process(name)
        if flow is None:  # it died while this process was starting
            raise SystemExit(128 + signal.SIGTERM)
    ancestors: list[psutil.Process] = psutil.Process().parents()
    ends = [position for position, process in enumerate(ancestors, start=1) if process in (dvc, flow)]
    return ancestors[: max(ends, default=0)]


def _watch(processes: list[psutil.Process]) -> None:
    _wait_for_any(processes)
    os.kill(os.getpid(), signal.SIGTERM)
    # The main thread now cleans up and exits; if it is stuck in native code, this thread does.
    time.sleep(GRACE_SECONDS)
    _kill_children()
    os._exit(128 + signal.SIGTERM)


def _wait_for_any(processes: list[psutil.Process]) -> None:
    """Return when the first of them has ended."""
    if not hasattr(os, "pidfd_open"):
        while all(process.is_running() for process in processes):
            time.sleep(0.3)
        return
    poll = select.poll()
    try:
        for process in processes:
            poll.register(os.pidfd_open(process.pid), select.POLLIN)
    except ProcessLookupError:
        return
    if all(process.is_running() for process in processes):
        poll.poll()


def _end(processes: list[psutil.Process]) -> None:
    """SIGTERM to all of them, SIGKILL to those still there after `GRACE_SECONDS`."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    time.sleep(GRACE_SECONDS)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def end_group(leader: subprocess.Popen[bytes]) -> None:
    """End every process in the process group of `leader`, started with `process_group=0`."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            leader.wait(GRACE_SECONDS)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            os.killpg(leader.pid, 0)  # raises once the group is empty
            time.sleep(0.05)
        os.killpg(leader.pid, signal.SIGKILL)


def guard_descendants() -> None:
    """Nothing that this process starts from now on outlives it, even if it is killed.

    A guard process waits on a pipe that closes when this process ends, in whatever way, and then
    ends all that carry this process's identity in `FLOW_VARIABLE`.
    """
    if os.environ.get(FLOW_VARIABLE, "").startswith(f"{os.getpid()}-"):
        return
    # A session of its own: Ctrl-C and signals to this process's group must not reach the guard.
    guard = subprocess.Popen(
        [sys.executable, "-m", "parrot.processes", identity()],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={name: value for name, value in os.environ.items() if name != FLOW_VARIABLE},
    )  # fmt: skip
    _guards.append(guard)  # keeps the pipe open
    os.environ[FLOW_VARIABLE] = identity()


def _guard(flow: str) -> None:
    sys.stdin.buffer.read()
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(FLOW_VARIABLE) == flow:
                left.append(process)
    if left:
        _end(left)


@contextlib.contextmanager
def pipeline_lock(path: Path | str) -> Iterator[None]:
    """Hold `path` as the lock of this checkout; a dead process's lock is free by itself.

    Raises:
        ParrotError: another process holds it; says which and since when.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ParrotError(f"{path}: {_holder(path)}; wait for it or stop it") from None
        since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        file.truncate(0)
        json.dump({"pid": os.getpid(), "since": since}, file)
        file.flush()
        yield
        file.truncate(0)


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Wait for the lock of `path` and hold it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _holder(path: Path) -> str:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return f"the pipeline is already running here (process {held['pid']}, since {held['since']})"
    except (ValueError, KeyError):
        return "the pipeline is already running here"


if __name__ == "__main__":
    _guard(sys.argv[1])
