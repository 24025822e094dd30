"""Folders and archives of pictures, also such as Python itself would not write."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from small_sources import write_zip

from parrot.data.images import ImageStore
from parrot.data.rejects import Rejected


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w", **options: Any) -> Path:
    with tarfile.open(path, mode, **options) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_folder(path: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write(path: Path, how: str, members: dict[str, bytes]) -> Path:
    if how == "folder":
        return write_folder(path, members)
    return {"zip": write_zip, "tar": write_tar}[how](path, members)


def reason(store: ImageStore, name: str) -> str:
    with pytest.raises(Rejected) as error:
        store.read(name)
    return error.value.reason


def raw_zip(path: Path, names: dict[bytes, bytes], flags: int = 0, system: int = 3) -> Path:
    """A zip whose names are these bytes, which `zipfile` itself would not write."""
    letters = zip("QXZ", names.items(), strict=False)
    placeholders = {letter * len(name): (name, content) for letter, (name, content) in letters}
    write_zip(path, {placeholder: content for placeholder, (_, content) in placeholders.items()})
    whole = bytearray(path.read_bytes())
    for placeholder, (name, _) in placeholders.items():
        whole = bytearray(whole.replace(placeholder.encode(), name))
    for signature, at_flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = whole.find(signature)
        while at >= 0:
            whole[at + at_flags : at + at_flags + 2] = flags.to_bytes(2, "little")
            at = whole.find(signature, at + 4)
    path.write_bytes(whole)
    return path
