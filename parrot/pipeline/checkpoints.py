"""Where a killed stage finds what it had done, and whether that may be gone on with."""

import contextlib
import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NewType

from parrot.files import read_json_object, write_json, write_text
from parrot.lineage import flatten

CHECKPOINTS = Path(".parrot/checkpoints")
WorkFolder = NewType("WorkFolder", Path)
"""A folder where a killed stage finds what it had done; a stage that takes one as `work` is given it."""
MADE_BY = "made_by.json"
ENDED = "ended"
"""In the folder of a stage whose outputs are in place: the lock file in which DVC is about to note them."""
_REMOVED = ".removed"
"""What a folder's name ends with that is being removed."""
INPUTS, PARAMETERS = "its inputs", "its parameters"
"""In `MADE_BY`, beside what makes checkpoints useless; both are in the folder's name, too."""
LIBRARIES = ("torch", "pyarrow", "transformers", "accelerate", "peft", "tokenizers", "numpy", "pillow")
"""Those that turn records into numbers and numbers into weights and answers."""


def open_checkpoints(
    stage: str, inputs: Sequence[Path], params: Mapping[str, Any], code: Sequence[Path]
) -> WorkFolder:
    """The folder for checkpoints of these inputs and parameters; empty if other code or libraries made them.

    The latter is said on stderr, and where an unfinished one with other parameters lies: how a training is
    shared among ranks is a parameter, too. Call `close_checkpoints` when the outputs are in place.

    Args:
        inputs: files and folders that the stage reads; one that was touched is another.
        code: files and folders of Python that the stage runs.
    """
    folder = name_checkpoints(stage, inputs, params)
    now = {
        **_made_by(code),
        INPUTS: {str(path): _fingerprint([path], {}) for path in inputs},
        PARAMETERS: json.loads(json.dumps(flatten(params))),
    }
    if not folder.exists():
        _say_where_others_lie(stage, folder, now)
    elif changed := _changed(folder / MADE_BY, now):
        print(
            f"parrot {stage}: begins anew and does not go on where an earlier run was killed, because "
            f"{' and '.join(changed)} changed since",
            file=sys.stderr,
            flush=True,
        )
        _remove(folder)
    write_json(folder / MADE_BY, now)
    return folder


def name_checkpoints(stage: str, inputs: Sequence[Path], params: Mapping[str, Any]) -> WorkFolder:
    """The folder that `open_checkpoints` opens, as it is: for those that do not open it themselves."""
    return WorkFolder(CHECKPOINTS / f"{stage.replace(':', '-')}-{_fingerprint(inputs, params)}")


def close_checkpoints(folder: WorkFolder, address: str | None) -> None:
    """To be called when the outputs are in their places.

    Under DVC, which knows the stage by `address`, the folder stays for `remove_recorded`: were DVC killed
    before it has noted the outputs down, it would run the stage again, which then need not train again.
    """
    if address is None:
        _remove(folder)
    else:
        part = address.rpartition(":")[0] or "dvc.yaml"
        write_text(folder / ENDED, str(Path(part).with_suffix(".lock")))


def remove_recorded() -> None:
    """Remove the folders of stages that have ended and that DVC has noted down since."""
    for leftover in CHECKPOINTS.glob(f"*{_REMOVED}"):
        shutil.rmtree(leftover, ignore_errors=True)
    for ended in CHECKPOINTS.glob(f"*/{ENDED}"):
        lock = Path(ended.read_text(encoding="utf-8"))
        if lock.exists() and lock.stat().st_mtime_ns > ended.stat().st_mtime_ns:
            _remove(ended.parent)


def _remove(folder: Path) -> None:
    """Whole or not at all: a stage that is killed meanwhile leaves no half of it to go on from."""
    gone = folder.with_name(f".{folder.name}{_REMOVED}")
    shutil.rmtree(gone, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):  # a stage beside this one has removed it
        folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)


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


def _say_where_others_lie(stage: str, folder: Path, now: Mapping[str, Any]) -> None:
    """Name the checkpoints of the same stage and inputs that were made with other parameters."""
    for file in sorted(CHECKPOINTS.glob(f"{stage.replace(':', '-')}-*/{MADE_BY}")):
        before = read_json_object(file)
        theirs, ours = before.get(PARAMETERS), now[PARAMETERS]
        # A file that only one of them has is named by a parameter.
        touched = any(now[INPUTS].get(path, state) != state for path, state in before.get(INPUTS, {}).items())
        if theirs is None or touched or (file.parent / ENDED).exists():
            continue
        changed = ", ".join(
            f"{name} {theirs.get(name, 'unset')} (now {ours.get(name, 'unset')})"
            for name in {**theirs, **ours}
            if theirs.get(name) != ours.get(name)
        )
        print(
            f"parrot {stage}: begins anew and does not go on in {file.parent}, which was made with "
            f"{changed}; set that back to go on there, or remove the folder",
            file=sys.stderr,
            flush=True,
        )


def _changed(file: Path, now: dict[str, Any]) -> list[str]:
    """What differs, in words; a file that tells nothing counts as all."""
    before = read_json_object(file)
    return [
        name if name == "the project's code" else f"{name} ({before.get(name)}, now {value})"
        for name, value in now.items()
        if before.get(name) != value
    ]


def _files(paths: Sequence[Path]) -> list[Path]:
    found = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return [file for file in found if file.is_file()]
