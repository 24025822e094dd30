"""Writing files so that a killed process never leaves half of one under its final name."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parrot.errors import ParrotError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = (*map(os.strerror, _FULL), "database or disk is full")
"""Of libraries that raise errors of their own: safetensors, SQLite."""
_NOTHING_LEFT = 2**20  # bytes


@contextmanager
def naming_full_disk(path: Path | str) -> Iterator[None]:
    """What fails in the block for want of space becomes a `ParrotError`; `path` is where it writes."""
    try:
        yield
    except ParrotError:
        raise
    except Exception as error:
        named = error.filename if isinstance(error, OSError) else None
        place = Path(named or path).absolute()
        folder = next(folder for folder in (place, *place.parents) if folder.exists())
        free = shutil.disk_usage(folder).free
        # torch says "iostream error" and no more.
        if not (_disk_is_full(error) or (isinstance(error, RuntimeError) and free < _NOTHING_LEFT)):
            raise
        raise ParrotError(
            f"no space left while writing {named or path} ({free / 2**20:,.0f} MiB free on the disk of "
            f"{folder}); free some there and start again"
        ) from None


def _disk_is_full(error: BaseException | None) -> bool:
    while error:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(text in str(error) for text in _FULL_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _share(path: Path) -> None:
    """The permissions that `path` and what is in it would have, had it been made in the ordinary way."""
    umask = os.umask(0o077)  # it can only be read by setting it
    os.umask(umask)
    for item in (path, *path.rglob("*")):
        if not item.is_symlink():
            item.chmod((0o777 if item.is_dir() else 0o666) & ~umask)


def _prefix(path: Path) -> str:
    """How partial names begin, in a folder that is there and holds none: stages hold DVC's lock, so what a
    killed predecessor left is not in use."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.partial-"
    for leftover in path.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    return prefix


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the final name only if the block succeeds.

    Raises:
        ParrotError: the disk is full.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=_prefix(path), suffix=path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        with naming_full_disk(path):
            yield partial
        _share(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it replaces `path` only if the block succeeds.

    Files in it end with the permissions that the umask gives, also where a library made them private.

    Raises:
        ParrotError: the disk is full.
    """
    path = Path(path)
    partial = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    try:
        with naming_full_disk(path):
            yield partial
        _share(partial)
        if path.exists():
            shutil.rmtree(path)
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is none, or not a whole one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as readable UTF-8 JSON, in one step."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, in one step."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
