"""Whether processes have ended, also where nobody waits for an orphan (a container without an init)."""

import time
from collections.abc import Iterable

import psutil


def ended(processes: Iterable[psutil.Process], seconds: float = 10) -> bool:
    """Whether all `processes` have ended, or end within `seconds`; one that nobody has waited for has."""
    deadline = time.monotonic() + seconds
    while (
        processes := [process for process in processes if _lives(process)]
    ) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not processes


def number_ended(pid: int, seconds: float = 10) -> bool:
    """The same of a process known by its number."""
    return not psutil.pid_exists(pid) or ended([psutil.Process(pid)], seconds)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
