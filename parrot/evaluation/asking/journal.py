"""Answers as they come, so that a killed evaluation goes on where it was."""

import json
import os
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Journal:
    """A file of JSON lines, one for each share that was answered."""

    def __init__(self, path: Path) -> None:
        """Open it; from the first line on that is not whole, it counts as not written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.done: dict[int, list[Row]] = {}
        """Number of a share -> its answers."""
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    entry = json.loads(line)
                    self.done[entry["share"]] = entry["rows"]
                except (ValueError, TypeError, KeyError):
                    break
                if not line.endswith(b"\n"):
                    del self.done[entry["share"]]
                    break
                whole += len(line)
        self._file = path.open("r+b" if path.exists() else "wb")
        self._file.seek(whole)
        self._file.truncate()

    def append(self, share: int, rows: list[Row]) -> None:
        """Add a share's answers; on return they are on the disk."""
        line = json.dumps({"share": share, "rows": rows}, ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done[share] = rows

    def close(self) -> None:
        self._file.close()
