"""The entries of a source's files: JSON, JSON lines, Parquet, WebDataset; told apart by their first bytes."""

import lzma
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from parrot.config import Format
from parrot.data.images import MAX_ENCODED_BYTES
from parrot.data.images.tars import tar_members
from parrot.data.sources import json_buffer, json_items
from parrot.data.sources.json_items import Unreadable, read_rest
from parrot.data.sources.json_lines import Lines, Rest, cut
from parrot.data.sources.odd import READERS
from parrot.errors import ParrotError

_ROWS = 64
"""Of a Parquet file that are held at a time: each may bring a picture."""
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")


def files_of(path: Path) -> list[Path]:
    """The files that a pattern in the last part of `path` names, in order; else `path`.

    Raises:
        ParrotError: a file is missing.
    """
    files = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
    for file in files:
        if file.is_dir():
            raise ParrotError(f"{file}: is a folder; a source is read from files: name them in `files`")
    if not files or not files[0].is_file():
        raise ParrotError(
            f"{path}: not found; `parrot data` fetches or makes the demo data, `parrot data list` says what "
            f"is missing of other data and where it is published"
        )
    return files


def read_entries(path: Path, form: Format) -> Iterator[tuple[int, Any]]:
    """Position, from 0 on, and entry, of all files of a path as if they were one.

    Raises:
        ParrotError: a file is missing or broken; says where.
    """
    for position, item in enumerate(item for file in files_of(path) for item in _items(file, form)):
        parts = item.get(form.each) if form.each and isinstance(item, dict) else None
        if not isinstance(parts, list) or not parts:  # then it is an entry that lacks them
            yield position, item
            continue
        rest = {key: value for key, value in item.items() if key != form.each}
        for part in parts:
            yield position, rest | (part if isinstance(part, dict) else {form.each: part})


def read_pieces(path: Path, form: Format, most: int) -> Iterator[Lines | tuple[int, Any]]:
    """The same entries, but lines of JSON, where a file can be cut into them, are not parsed yet.

    Args:
        most: no lines together are on either side of a multiple of this.

    Raises:
        ParrotError: as `read_entries`.
    """
    if form.each or form.reader or form.entries:
        yield from read_entries(path, form)
        return
    position = 0
    for file in files_of(path):
        pieces = cut(file, position, most) if _begins_with_object(file) else _items(file, form)
        for piece in pieces:
            if isinstance(piece, Lines):
                yield piece
                position += piece.number
                continue
            for item in read_rest(file, piece.start, piece.line) if isinstance(piece, Rest) else [piece]:
                yield position, item
                position += 1


def _items(file: Path, form: Format) -> Iterator[Any]:
    beginning = _beginning(file)
    if beginning.startswith(b"PAR1"):
        return _rows(file)
    if _is_tar(beginning):
        return _samples(file)
    if form.reader:
        return READERS[form.reader](file)
    if form.entries == "*":
        members = json_items.read_members(file)
        return (value | {"id": key} if isinstance(value, dict) else value for key, value in members)
    if form.entries:
        return (value for key, value in json_items.read_members(file) if key == form.entries)
    return json_items.read_items(file)


def _beginning(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(512)


def _is_tar(beginning: bytes) -> bool:
    return beginning[257:262] == b"ustar" or beginning.startswith(_COMPRESSED)


def _begins_with_object(file: Path) -> bool:
    beginning = _beginning(file)
    return beginning.startswith(b"{") and not _is_tar(beginning)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise ParrotError(f"{file}: not readable as Parquet ({said}); fetch it again") from None


def _samples(file: Path) -> Iterator[dict[str, Any] | Unreadable]:
    """The samples of a tar in WebDataset's form: files one behind the other whose names agree up to a dot.

    Fields of a `.json` join the sample's own; texts are texts, everything else is bytes.
    """
    sample: dict[str, Any] = {}
    broken: Unreadable | None = None
    try:
        with file.open("rb") as opened:
            for archive, member in tar_members(opened, "r|*"):
                if not member.isreg():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key = f"{folder}/{stem}".removeprefix("./").lstrip("/")
                if sample and sample["__key__"] != key:
                    yield broken or sample
                    sample, broken = {}, None
                sample["__key__"] = key
                try:
                    sample |= _member(archive, member, ending.lower(), sample)
                except (ValueError, RecursionError) as error:
                    broken = Unreadable(f"broken sample: {member.name}: {error}")
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ParrotError(f"{file}: a tar that is broken or ends early ({said}); fetch it again") from None
    if sample:
        yield broken or sample


def _member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str, sample: Mapping[str, Any]
) -> dict[str, Any]:
    opened = archive.extractfile(member)
    if opened is None or member.size > MAX_ENCODED_BYTES:
        raise ValueError(f"more than {MAX_ENCODED_BYTES >> 20} MiB")
    if ending in sample:
        raise ValueError("another file of the sample ends so")
    content = opened.read()
    if ending == "json":
        tree = json_buffer.parse(content)
        if not isinstance(tree, dict):
            return {ending: tree}
        for name in tree:
            if name in sample and tree[name] != sample[name]:
                raise ValueError(f"its field {name!r:.40} differs from the sample's own")
        return tree
    return {ending: content.decode() if ending in ("txt", "cls", "caption") else content}
