"""Processes that end together, and the lock that lets one pipeline run at a time.

DVC starts a stage through a shell and does not stop it when DVC itself is stopped, so a stage
watches the processes it works for and ends with them.
"""

import atexit
import contextlib
import fcntl
import itertools
import json
import os
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

STAGE_VARIABLE = "DVC_STAGE"
"""Set by DVC for the command of a stage; everything that descends from it carries it."""

LAUNCH_VARIABLE = "PARROT_LAUNCH"
"""Set by a process that starts the ranks of a training: its identity, or `OUT_OF_SIGHT`."""

OUT_OF_SIGHT = "elsewhere"
"""Ranks are perhaps on other machines: what started them cannot be watched from there, and it ends them."""

GRACE_SECONDS = 1.0
"""Between being asked to end and being killed."""

WATCH_SECONDS = 0.3
"""Between two looks at whether the processes above are still there."""

REWRITE_SECONDS = 2.0
"""How long a lock file of DVC may be half written, at most; DVC rewrites it in place."""

_PROC = Path("/proc/self/stat")
_guards: list[subprocess.Popen[bytes]] = []


def identity(process: psutil.Process | None = None) -> str:
    """`pid-start` of a process (this one by default): unlike the pid alone it is never reused.

    The start is what the kernel noted down, and no time of day: setting the clock does not change it.
    """
    pid = os.getpid() if process is None else process.pid
    try:
        return f"{pid}-{_ticks_at_start(pid) if _PROC.exists() else _noted_start(pid)}"
    except OSError:
        raise psutil.NoSuchProcess(pid) from None


def _ticks_at_start(pid: int) -> str:
    """`boot.ticks`: which boot of the machine, and field 22 of proc(5), clock ticks since then."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")
    return f"{boot[:8]}.{stat.rpartition(')')[2].split()[19]}"


def _noted_start(pid: int) -> str:
    """For macOS. `ps` shows the start as it was noted; psutil would correct it by the clock."""
    environment = os.environ | {"LC_ALL": "C", "TZ": "UTC"}
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    shown = subprocess.run(command, capture_output=True, text=True, env=environment).stdout.split()
    if not shown:
        raise ProcessLookupError(pid)
    return ".".join(shown)


def find_process(name: str) -> psutil.Process | None:
    """The living process with this `identity`, or None."""
    try:
        process = psutil.Process(int(name.partition("-")[0]))
        return process if identity(process) == name and _lives(process) else None
    except (psutil.NoSuchProcess, ValueError):
        return None


def _lives(process: psutil.Process) -> bool:
    """Whether it has not ended; one that has ended and was not waited for yet has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _ancestors() -> list[psutil.Process]:
    """The parent, its parent and so on. (psutil's own list depends on the clock standing still.)"""
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        pid = os.getppid()
        while pid:
            found.append(psutil.Process(pid))
            pid = found[-1].ppid()
    return found


def dvc_process() -> psutil.Process | None:
    """The DVC process that runs this process as a stage, or None: there is none, or it has ended.

    While DVC runs a stage, its lock names it as the one that uses the stage's files. Whatever else
    is above this process need not be DVC: one whose parent is killed goes to another parent.
    """
    return _dvc_among(_ancestors()) if STAGE_VARIABLE in os.environ else None


def _dvc_among(ancestors: list[psutil.Process]) -> psutil.Process | None:
    here = Path.cwd()
    folders = {here, *here.parents, Path(os.environ.get("DVC_ROOT", here))}
    pids = set().union(*(users_of_files(folder / ".dvc/tmp/rwlock") for folder in folders))
    return next((ancestor for ancestor in ancestors if ancestor.pid in pids), None)


def users_of_files(lock: Path) -> set[int]:
    """The processes that DVC's lock on files names; nobody, if it is damaged or not there."""
    deadline = time.monotonic() + REWRITE_SECONDS
    while True:
        try:
            tree = json.loads(lock.read_text(encoding="utf-8"))
            users = [*tree.get("write", {}).values(), *itertools.chain(*tree.get("read", {}).values())]
            return {user["pid"] for user in users}
        except OSError:
            return set()
        except (ValueError, TypeError, KeyError, AttributeError):  # perhaps just being rewritten
            if time.monotonic() > deadline:
                return set()
            time.sleep(0.05)


def end_with_parents() -> None:
    """Make this process and its children end soon after the DVC or flow process above it.

    Does nothing in a process that neither of them started. The end comes as SIGTERM, turned into
    `SystemExit`, so that temporary files are removed; after `GRACE_SECONDS` it comes as SIGKILL.

    Raises:
        SystemExit: one of them ended while this process was starting.
    """
    watched = _watched_ancestors()
    if not watched:
        return
    signal.signal(signal.SIGTERM, _exit_on_signal)
    threading.Thread(target=_watch, args=(watched,), name="end-with-parents", daemon=True).start()


def _watched_ancestors() -> list[psutil.Process]:
    """All ancestors up to DVC or the flow, whichever is further up; of a rank, up to what started it."""
    launcher = os.environ.get(LAUNCH_VARIABLE)
    if launcher == OUT_OF_SIGHT:
        return []
    ancestors = _ancestors()
    tops: list[psutil.Process | None] = []
    if launcher:
        tops.append(find_process(launcher))
    else:
        if STAGE_VARIABLE in os.environ:
            tops.append(_dvc_among(ancestors))
        if name := os.environ.get(FLOW_VARIABLE):
            tops.append(find_process(name))
    if None in tops:
        with contextlib.suppress(OSError):  # who would read it may have ended, too
            print(
                "parrot: what started this stage has ended, and so does the stage "
                f"(to run it without DVC, unset {STAGE_VARIABLE})", file=sys.stderr, flush=True,
            )  # fmt: skip
        raise SystemExit(128 + signal.SIGTERM)
    ends = [position for position, process in enumerate(ancestors, start=1) if process in tops]
    return ancestors[: max(ends, default=0)]


def _exit_on_signal(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    atexit.register(_kill_children)
    raise SystemExit(128 + number)


def _kill_children() -> None:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()


def _watch(processes: list[psutil.Process]) -> None:
    while all(_lives(process) for process in processes):
        time.sleep(WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    # The main thread now cleans up and exits; if it is stuck in native code, this thread does.
    time.sleep(GRACE_SECONDS)
    _kill_children()
    os._exit(128 + signal.SIGTERM)


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
    # macOS says "not permitted" of a group of which only unwaited-for processes are left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
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
    if os.environ.get(FLOW_VARIABLE) == identity():
        return
    # A session of its own: Ctrl-C and signals to this process's group must not reach the guard.
    guard = subprocess.Popen(
        [sys.executable, "-m", "parrot.pipeline.processes", identity()],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={name: value for name, value in os.environ.items() if name != FLOW_VARIABLE},
    )  # fmt: skip
    _guards.append(guard)  # keeps the pipe open
    os.environ[FLOW_VARIABLE] = identity()


def _guard(flow: str) -> None:
    sys.stdin.buffer.read()
    left: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(FLOW_VARIABLE) == flow:
                # macOS shows nobody the environment of its own programs, such as the shell.
                left |= {process, *process.children(recursive=True)}
    if left:
        _end(list(left))


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
