"""What a full disk raises, in the place of a function that writes."""

import errno
import sqlite3


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def full_database(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")
