"""Where a killed stage finds what it had done, and whether that may be gone on with."""

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NewType

from parrot.files import write_json

CHECKPOINTS = Path(".parrot/checkpoints")
WorkFolder = NewType("WorkFolder", Path)
"""A folder where a killed stage finds what it had done; a stage that takes one as `work` is given it."""
MADE_BY = "made_by.json"
LIBRARIES = ("torch", "pyarrow", "transformers", "accelerate", "peft", "tokenizers", "numpy", "pillow")
"""Those that turn records into numbers and numbers into weights and answers."""


def open_checkpoints(
    stage: str, inputs: Sequence[Path], params: Mapping[str, Any], code: Sequence[Path]
) -> WorkFolder:
    """The folder for checkpoints of these inputs and parameters; empty if other code or libraries made them.

    The latter is said on stderr. Whoever uses the folder removes it when the outputs are in place.

    Args:
        inputs: files and folders that the stage reads; one that was touched is another.
        code: files and folders of Python that the stage runs.
    """
    folder = name_checkpoints(stage, inputs, params)
    now = _made_by(code)
    if folder.exists() and (changed := _changed(folder / MADE_BY, now)):
        print(
            f"parrot {stage}: begins anew and does not go on where an earlier run was killed, because "
            f"{' and '.join(changed)} changed since",
            file=sys.stderr,
            flush=True,
        )
        shutil.rmtree(folder)
    write_json(folder / MADE_BY, now)
    return folder


def name_checkpoints(stage: str, inputs: Sequence[Path], params: Mapping[str, Any]) -> WorkFolder:
    """The folder that `open_checkpoints` opens, as it is: for those that do not open it themselves."""
    return WorkFolder(CHECKPOINTS / f"{stage.replace(':', '-')}-{_fingerprint(inputs, params)}")


def _fingerprint(inputs: Sequence[Path], params: Mapping[str, Any]) -> str:
    """The same for the same parameters and the same untouched input files."""
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in _files(inputs)]
    return hashlib.sha256(json.dumps([params, stats], sort_keys=True).encode()).hexdigest()[:16]


def _made_by(code: Sequence[Path]) -> dict[str, str]:
    digest = hashlib.sha256()
    for file in _files(code):
        if "__pycache__" not in file.parts:
            digest.update(f"{file.as_posix()}\n".encode() + hashlib.sha256(file.read_bytes()).digest())
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        versions[library] = metadata.version(library)
    return {"the project's code": digest.hexdigest(), **versions}


def _changed(file: Path, now: dict[str, str]) -> list[str]:
    """What differs, in words; a file that was not written to its end tells nothing and counts as all."""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if not isinstance(before, dict):
        before = {}
    return [
        name if name == "the project's code" else f"{name} ({before.get(name)}, now {value})"
        for name, value in now.items()
        if before.get(name) != value
    ]


def _files(paths: Sequence[Path]) -> list[Path]:
    found = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return [file for file in found if file.is_file()]
