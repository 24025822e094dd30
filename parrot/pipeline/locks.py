"""DVC's locks: who holds one is named and waited for; what cannot be waited for is a sentence.

`.dvc/tmp/lock` is the operating system's and falls with its holder. `.dvc/tmp/rwlock` is a JSON file
that names the processes that use the stages' files: it outlasts them, and a power cut may cut it off.
"""

import re
import time
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TypeVar

import psutil

from parrot.errors import ParrotError
from parrot.pipeline.processes import users_of_files

Read = TypeVar("Read")

LOCK, RWLOCK = Path(".dvc/tmp/lock"), Path(".dvc/tmp/rwlock")
_BUSY = re.compile(r"is busy, it is being blocked")
_HELD = re.compile(r"Unable to acquire lock")
_DAMAGED = re.compile(r"RWLock-file '.*rwlock'[. ]*(JSON structure|format)")
_USER = re.compile(r"\(PID (\d+)\): (.*)")
_REMEDY = "if DVC does not run here in another window, remove that file and start again"


def is_locked(words: str) -> bool:
    """Whether DVC's words are about one of its locks."""
    return any(pattern.search(words) for pattern in (_BUSY, _HELD, _DAMAGED))


def wait_for_lock(words: str, say: Callable[[str], object], wanted: Callable[[], bool] | None = None) -> None:
    """Return once whoever DVC's `words` are about has let go, or nobody waits for it any more.

    Raises:
        ParrotError: waiting is of no use; says what is in the way and what to do.
    """
    if _DAMAGED.search(words):
        raise ParrotError(f"{RWLOCK} is damaged, as DVC leaves it if it is killed while writing; {_REMEDY}")
    if _HELD.search(words):
        say(f"waiting for another DVC, which holds {LOCK}{_told(_holder())}")
        time.sleep(0.5)
        return
    for pid, command in _USER.findall(words):
        if user := _user(int(pid), command):
            say(f"waiting for another DVC, which uses the same files{_told(user)}")
            while user.is_running() and user.pid in users_of_files(RWLOCK) and (wanted is None or wanted()):
                time.sleep(0.5)


def patiently(read: Callable[[], Read], say: Callable[[str], object]) -> Read:
    """What `read` returns, once no lock of DVC is in its way.

    Raises:
        ParrotError: as `wait_for_lock`.
        DvcException: DVC's other errors.
    """
    from dvc.exceptions import DvcException

    say_once = cache(say)
    while True:
        try:
            return read()
        except DvcException as error:
            if not is_locked(words := str(error)):
                raise
            wait_for_lock(words, say_once)


def _user(pid: int, command: str) -> psutil.Process | None:
    """The process that the lock names, or None if it has just ended.

    Raises:
        ParrotError: it was killed, and its number stands for something else.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            raise ParrotError(f"{RWLOCK} names process {pid} ({command}), which was killed; {_REMEDY}")
        arguments = command.partition(" ")[2]
        if " ".join(process.cmdline()).endswith(arguments):
            return process
        raise ParrotError(
            f"{RWLOCK} names process {pid} ({command}), which was killed: that number now stands for "
            f"`{_command(process)}`; {_REMEDY}"
        )
    except psutil.NoSuchProcess:
        return None


def _holder() -> psutil.Process | None:
    try:
        return psutil.Process(int(LOCK.read_text(encoding="utf-8")))
    except (OSError, ValueError, psutil.Error):
        return None


def _told(process: psutil.Process | None) -> str:
    if process is None:
        return ""
    try:
        since = datetime.fromtimestamp(process.create_time()).strftime("%H:%M:%S")
        return f" (process {process.pid}, `{_command(process)}`, since {since})"
    except psutil.Error:
        return f" (process {process.pid})"


def _command(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    return words if len(words) <= 80 else f"{words[:79]}…"
