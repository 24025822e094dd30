"""Which checkpoint a killed training goes on from: the newest that all ranks wrote to its end."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from transformers.trainer_utils import get_last_checkpoint

from parrot.files import write_json
from parrot.training.distributed import ranks

COMPLETE = "complete.json"
"""Written last into a checkpoint: its files and their sizes in bytes, how many ranks wrote them, and the
loss of each since the last logged step."""


def mark_complete(checkpoint: Path, since_log: dict[str, Any]) -> None:
    """To be called by rank 0 when every rank has written its part."""
    write_json(checkpoint / COMPLETE, {**since_log, "ranks": ranks(), "files": _sizes(checkpoint)})


def read_since_log(checkpoint: Path) -> dict[str, Any]:
    """What `mark_complete` was given."""
    since: dict[str, Any] = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    return since


def last_complete(checkpoints: Path) -> Path | None:
    """The newest checkpoint with all its files whole, written by as many ranks as train now.

    The others are removed. What DeepSpeed calls `latest` does not count: it may name an incomplete one.
    """
    for folder in sorted(checkpoints.glob("checkpoint-*")):
        if wrong := _wrong(folder):
            print(f"{folder}: {wrong}; it is removed", file=sys.stderr, flush=True)
            shutil.rmtree(folder)
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    return Path(last) if last else None


def _wrong(checkpoint: Path) -> str | None:
    """Why it cannot be gone on from, if it cannot."""
    try:
        written = read_since_log(checkpoint)
    except (OSError, ValueError):
        return "was not written to its end"
    if written["ranks"] != ranks():
        return (
            f"was written by {written['ranks']} ranks and there are {ranks()} now: shares of the "
            f"optimizer and random states belong to a rank, so that no exact resume is possible"
        )
    sizes = _sizes(checkpoint)
    broken = [name for name, size in written["files"].items() if sizes.get(name) != size]
    return f"{', '.join(broken)} is not what was written" if broken else None


def _sizes(checkpoint: Path) -> dict[str, int]:
    files = sorted(file for file in checkpoint.rglob("*") if file.is_file() and file.name != COMPLETE)
    return {file.relative_to(checkpoint).as_posix(): file.stat().st_size for file in files}


__all__ = ["COMPLETE", "last_complete", "mark_complete", "read_since_log"]
