"""Keys that came before, of any number: kept in a temporary file, so that memory stays flat."""

import sqlite3

_CACHE_KIB = 4 << 10
_RECENT = 100_000
"""Keys that go into the file together, in order: then each of its pages is written once for many of them."""
_FILTER_BITS = 1 << 27


class FirstSeen:
    """Remembers with which value each key came first.

    The file has no name, lies where SQLite puts temporary files (`SQLITE_TMPDIR`, `TMPDIR`), and goes with
    the process. It holds some 50 bytes for each key of 16. It is asked for a key only where a Bloom filter
    of 16 MiB, with two bits for a key, takes that for an old one: of two million keys one in a thousand by
    mistake, of a hundred million more than half.

    Keys are digests: their first eight bytes must be as good as random.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, value TEXT) WITHOUT ROWID")
        self._database.execute("BEGIN")  # one transaction of all: nothing is ever kept
        self._recent: dict[bytes, str] = {}
        self._filter = bytearray(_FILTER_BITS // 8)
        """Of the keys in the file."""

    def earlier(self, key: bytes, value: str = "") -> str | None:
        """The value with which `key` came first; None if it is new, and from now on `value` is it."""
        if (found := self._recent.get(key)) is not None:
            return found
        if self._may_hold(key):
            query = self._database.execute("SELECT value FROM seen WHERE key = ?", (key,))
            if row := query.fetchone():
                return str(row[0])
        self._recent[key] = value
        if len(self._recent) == _RECENT:
            self._put_away()
        return None

    def _may_hold(self, key: bytes) -> bool:
        one, other = _bits(key)
        return bool(self._filter[one >> 3] >> (one & 7) & self._filter[other >> 3] >> (other & 7) & 1)

    def _put_away(self) -> None:
        self._database.executemany("INSERT INTO seen VALUES (?, ?)", sorted(self._recent.items()))
        for key in self._recent:
            for bit in _bits(key):
                self._filter[bit >> 3] |= 1 << (bit & 7)
        self._recent.clear()


def _bits(key: bytes) -> tuple[int, int]:
    """The places of a key in the filter."""
    number = int.from_bytes(key[:8], "little")
    return number % _FILTER_BITS, (number >> 32) % _FILTER_BITS
