"""Answers as they come, so that a killed inference goes on where it was."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Journal:
    """A file with a line for each chunk that was answered: the hash of the JSON that follows it, and that."""

    def __init__(self, path: Path) -> None:
        """Open it; from the first line on that is not whole, it counts as not written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.done: list[dict[str, Any]] = []
        """The answers so far."""
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                checksum, _, text = line.partition(b" ")
                if not text.endswith(b"\n") or checksum != _checksum(text):
                    break
                self.done += json.loads(text)
                whole += len(line)
        self._file = path.open("r+b" if path.exists() else "wb")
        self._file.seek(whole)
        self._file.truncate()

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add a chunk's answers; on return they are on the disk."""
        text = json.dumps(rows).encode() + b"\n"
        self._file.write(_checksum(text) + b" " + text)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done += rows

    def close(self) -> None:
        self._file.close()


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
