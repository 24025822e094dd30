"""Which checkpoint a killed training goes on from: the newest that all ranks wrote to its end."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from parrot.errors import ParrotError
from parrot.files import write_json
from parrot.training.distributed import ranks

COMPLETE = "complete.json"
"""Written last into a checkpoint: its files and their sizes in bytes, the layout that wrote them, and the
loss of each rank since the last logged step."""


def layout(arguments: TrainingArguments) -> str:
    """How the training is shared out, such as "2 ranks under ZeRO-3"."""
    size = "1 process" if ranks() == 1 else f"{ranks()} ranks"
    if not arguments.deepspeed:
        return size
    return f"{size} under ZeRO-{arguments.hf_deepspeed_config.get_value('zero_optimization.stage')}"


def mark_complete(checkpoint: Path, arguments: TrainingArguments, since_log: dict[str, Any]) -> None:
    """To be called by rank 0 when every rank has written its part."""
    told = {**since_log, "layout": layout(arguments), "files": _sizes(checkpoint)}
    write_json(checkpoint / COMPLETE, told)


def read_since_log(checkpoint: Path) -> dict[str, Any]:
    """What `mark_complete` was given."""
    since: dict[str, Any] = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    return since


def last_complete(arguments: TrainingArguments) -> Path | None:
    """The newest checkpoint with all its files whole.

    The others are removed. What DeepSpeed calls `latest` does not count: it may name an incomplete one.

    Raises:
        ParrotError: it was written by another number of ranks or under another stage of ZeRO.
    """
    checkpoints, now = Path(arguments.output_dir), layout(arguments)
    for folder in sorted(checkpoints.glob("checkpoint-*")):
        if wrong := _wrong(folder):
            print(f"{folder}: {wrong}; it is removed", file=sys.stderr, flush=True)
            shutil.rmtree(folder)
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    if last and (before := read_since_log(Path(last))["layout"]) != now:
        raise ParrotError(
            f"{last} was written by {before}, and {now} cannot go on from it: shares of the optimizer and "
            f"random states belong to a rank; set `launch` and `deepspeed` back, or remove {checkpoints}"
        )
    return Path(last) if last else None


def _wrong(checkpoint: Path) -> str | None:
    """Why it cannot be gone on from, if it cannot."""
    try:
        files = read_since_log(checkpoint)["files"]
    except (OSError, ValueError):
        return "was not written to its end"
    sizes = _sizes(checkpoint)
    broken = [name for name, size in files.items() if sizes.get(name) != size]
    return f"{', '.join(broken)} is not what was written" if broken else None


def _sizes(checkpoint: Path) -> dict[str, int]:
    files = sorted(file for file in checkpoint.rglob("*") if file.is_file() and file.name != COMPLETE)
    return {file.relative_to(checkpoint).as_posix(): file.stat().st_size for file in files}
