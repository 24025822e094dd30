"""Keys that came before, of any number: kept in a temporary file, so that memory stays flat."""

import sqlite3

_CACHE_KIB = 16 << 10


class FirstSeen:
    """Remembers with which value each key came first.

    The file has no name, lies where SQLite puts temporary files (`SQLITE_TMPDIR`, `TMPDIR`), and goes with
    the process. It holds some 50 bytes for each key of 16.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, value TEXT) WITHOUT ROWID")
        self._database.execute("BEGIN")  # one transaction of all: nothing is ever kept

    def earlier(self, key: bytes, value: str = "") -> str | None:
        """The value with which `key` came first; None if it is new, and from now on `value` is it."""
        if self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, value)).rowcount:
            return None
        [found] = self._database.execute("SELECT value FROM seen WHERE key = ?", (key,)).fetchone()
        return str(found)
