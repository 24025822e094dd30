"""Folders, zip and tar archives of pictures: each opened once, then read by name, in any order.

What is opened may be broken or made to harm. A name that a data file gives never leads out of the folder
or archive; links inside an archive are refused. A link that stands in a folder on the user's own disk is
followed, since it was placed there: data sets are linked into shared caches (DVC's, the Hub's).
"""

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, Any

from parrot.data.images.names import Names
from parrot.data.images.tables import NoPictures, open_table
from parrot.data.images.tars import tar_members
from parrot.data.images.zips import whole_member
from parrot.data.rejects import Rejected, kind
from parrot.errors import ParrotError
from parrot.model.image_kinds import kind_of_file

MAX_ENCODED_BYTES = 256 << 20
"""Of one picture; more is an attack or a mistake."""

Load = Callable[[str], bytes]
"""Encoded bytes of a name; raises `Rejected`."""

_COMPRESSED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".parquet")
MISSING = "missing image"
_ZIP_NAMES = ("cp437", "strict")
_SYSTEM_NAMES = ("utf-8", "surrogateescape")
_SHOWN_SUBFOLDERS = 20


def open_folder(folder: Path) -> Load:
    """The pictures of a folder; and, found by their names alone, those of the archives right in it.

    So are shards (WebDataset's tars, the Hub's Parquet files) and archives in parts found without unpacking.
    """

    @cache
    def entries(of: Path) -> Names:
        return Names((entry.name for entry in of.iterdir()) if of.is_dir() else (), _SYSTEM_NAMES)

    def located(name: str) -> Path | None:
        place = folder
        for part in name.split("/"):
            if (entry := entries(place).find(part)) is None:
                return None
            place /= entry
        return place

    def elsewhere(name: str) -> str | None:
        parent, _, base = name.rpartition("/")
        if near := entries(folder / parent).near(base):
            return f"{parent}/{near}" if parent else near
        subfolders = sorted(entries(folder).stored)[:_SHOWN_SUBFOLDERS]
        return next((f"{sub}/{name}" for sub in subfolders if (folder / sub / name).is_file()), None)

    @cache
    def archives() -> dict[str, Load]:
        found: dict[str, Load] = {}
        for path in sorted(folder.iterdir()):
            if path.name.lower().endswith(_ARCHIVES) and path.is_file():
                with suppress(NoPictures):  # annotations, which lie beside their pictures
                    found[path.name] = open_archive(path)
        return found

    def in_archives(name: str) -> bytes | None:
        top, _, rest = name.partition("/")
        if rest and top in archives():  # `00000.tar/1.jpg`
            return archives()[top](rest)
        found: dict[str, bytes] = {}
        for archive, load_member in archives().items():
            try:
                found[archive] = load_member(name)
            except Rejected as error:
                if kind(error.reason) != MISSING:
                    raise
        if len(set(found.values())) > 1:
            raise Rejected(
                "image", f"ambiguous image: {name} is another one in each of {', '.join(found)} of {folder}; "
                f"name the archive, too: {next(iter(found))}/{name}",
            )  # fmt: skip
        return next(iter(found.values()), None)

    def load(name: str) -> bytes:
        try:
            file = folder / name
            if not file.is_file():
                file = located(name) or file
            if not file.is_file() and (packed := in_archives(name)) is not None:
                return packed
            if file.is_symlink() and not file.exists():
                raise Rejected(
                    "image",
                    f"{MISSING}: {file} is a link to {file.readlink()}, which is not there; fetch it",
                )
            if not file.is_file():
                raise _missing(folder, name, elsewhere(name))
            with file.open("rb") as opened:
                return _bounded(opened, name)
        except OSError as error:  # no permission, a name too long
            raise Rejected("image", f"unreadable image: {name} in {folder}: {error.strerror}") from None

    return load


def open_archive(path: Path, folder: str = "") -> Load:
    """The pictures of a .zip, a .tar (which may be compressed) or a Parquet file, or of a folder in it.

    Raises:
        ParrotError: it is neither, is broken, or lacks the folder; says what it is.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(512)
    except OSError as error:
        raise ParrotError(f"{path}: cannot be opened: {error.strerror}") from None
    if beginning.startswith(b"PAR1"):
        return open_table(path, folder)
    is_tar = beginning[257:262] == b"ustar"  # first, as a zip's end may stand in a tar
    if not is_tar and (beginning.startswith(b"PK\3\4") or zipfile.is_zipfile(path)):
        return _open_zip(path, folder)
    for magic, opener in _COMPRESSED.items():
        if beginning.startswith(magic):
            return _open_tar(path, folder, _decompressed(path, opener))
    return _open_tar(path, folder, path.open("rb"), "a tar" if is_tar else kind_of_file(beginning))


def _open_zip(path: Path, folder: str) -> Load:
    try:
        archive = zipfile.ZipFile(path)
        members: dict[str, zipfile.ZipInfo] = {}
        ambiguous: set[str] = set()
        for info in archive.infolist():
            if not info.is_dir():
                other = members.setdefault(name := _zip_name(info), info)
                if (other.CRC, other.file_size) != (info.CRC, info.file_size):
                    ambiguous.add(name)
    except Exception as error:  # whatever zipfile stumbles over in a broken archive
        raise ParrotError(f"{path}: a zip archive that is broken ({_said(error)}); fetch it again") from None
    assert archive.fp
    descriptor = archive.fp.fileno()
    names = Names(members, _ZIP_NAMES, folder)
    _check_folder(path, names, folder)

    def load(name: str) -> bytes:
        if (stored := names.find(name)) is None:
            raise _missing(path, name, names.near(name))
        if stored in ambiguous:
            raise Rejected("image", f"ambiguous image: {path} has {name} more than once, and not the same")
        info = members[stored]
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _is_link(path, name)
        if info.flag_bits & 1:
            raise Rejected(
                "image", f"unreadable image: {name} in {path} is encrypted; unpack it with its password"
            )
        try:
            if (content := whole_member(descriptor, info, MAX_ENCODED_BYTES)) is not None:
                return content
            with archive.open(info) as file:
                return _bounded(file, name)
        except Rejected:
            raise
        except Exception as error:
            raise Rejected("image", f"unreadable image: {name} in {path}: {_said(error)}") from None

    return load


def _zip_name(info: zipfile.ZipInfo) -> str:
    """A member's name; one that is no ASCII may be in any encoding, and `Names` finds it nevertheless."""
    name = info.filename
    return _plain(name.replace("\\", "/") if name.isascii() else name)  # as some Windows programs write them


def _open_tar(path: Path, folder: str, file: IO[bytes], what: str = "a compressed archive") -> Load:
    members: dict[str, tuple[int, int] | None] = {}  # None: links and sparse files
    try:
        for _, member in tar_members(file, "r:"):
            if member.isreg() and not member.issparse():
                members[_plain(member.name)] = member.offset_data, member.size
            elif not member.isdir():
                members[_plain(member.name)] = None
    except Exception as error:  # whatever tarfile stumbles over in a broken archive
        raise ParrotError(
            f"{path}: {what}, but no whole tar ({_said(error)}); taken are a folder, .zip, .tar, "
            f".tar.gz, .tar.bz2, .tar.xz and .parquet: fetch it again, or unpack it"
        ) from None
    names = Names(members, _SYSTEM_NAMES, folder)
    _check_folder(path, names, folder)

    def load(name: str) -> bytes:
        if (stored := names.find(name)) is None:
            raise _missing(path, name, names.near(name))
        if (place := members[stored]) is None:
            raise _is_link(path, name)
        offset, size = place
        if size > MAX_ENCODED_BYTES:
            raise _oversize(name)
        content = os.pread(file.fileno(), size, offset)
        if len(content) != size:
            raise Rejected(
                "image", f"unreadable image: {name} in {path}: the archive ends before it; fetch it again"
            )
        return content

    return load


def _decompressed(path: Path, opener: Callable[[Path], Any]) -> IO[bytes]:
    """The archive, unpacked once to a nameless temporary file, since it is then read in any order."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the store)
    try:
        with opener(path) as compressed:
            shutil.copyfileobj(compressed, file, 1 << 20)
    except OSError as error:
        if error.errno is None:  # gzip's BadGzipFile
            raise _ends_early(path, error) from None
        raise ParrotError(
            f"{path}: cannot be unpacked in {tempfile.gettempdir()}: {error.strerror}; set TMPDIR to a "
            f"folder with more room, or unpack it yourself to a .tar"
        ) from None
    except Exception as error:
        raise _ends_early(path, error) from None
    file.seek(0)
    return file


def _ends_early(path: Path, error: BaseException) -> ParrotError:
    return ParrotError(
        f"{path}: a compressed archive that is broken or ends early ({_said(error)}); fetch it again"
    )


def _check_folder(path: Path, names: Names, folder: str) -> None:
    if folder and not names.has_folder(folder):
        raise ParrotError(f"{path}/{folder}: not found; the archive has no folder {folder}")


def _bounded(file: IO[bytes], name: str) -> bytes:
    encoded = file.read(MAX_ENCODED_BYTES + 1)
    if len(encoded) > MAX_ENCODED_BYTES:
        raise _oversize(name)
    return encoded


def _plain(name: str) -> str:
    """A member's name as it is asked for: `./a//b.jpg` -> `a/b.jpg`."""
    return str(PurePosixPath(name))


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _missing(path: Path, name: str, near: str | None) -> Rejected:
    reason = f"{MISSING}: {path} has no {name}"
    if near and near.endswith(f"/{name}"):
        reason += f", but {near}; `images: {path}/{near.removesuffix(f'/{name}')}` finds it"
    elif near:
        reason += f", but {near}"
    return Rejected("image", reason)


def _is_link(path: Path, name: str) -> Rejected:
    return Rejected("image", f"unsafe path: {name!r} is a link in {path}")


def _oversize(name: str) -> Rejected:
    return Rejected("image", f"image too large: {name} has more than {MAX_ENCODED_BYTES >> 20} MiB")
