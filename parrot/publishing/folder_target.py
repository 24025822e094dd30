"""A folder that keeps the versions of a model: `NAME/VERSION`, and the link `NAME/current` to one of them."""

import filecmp
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from parrot.errors import ParrotError
from parrot.files import atomic_directory, naming_full_disk
from parrot.pipeline.processes import file_lock
from parrot.publishing.target import CURRENT, WEIGHTS, Contents, Placed, in_order


@dataclass(frozen=True)
class FolderTarget:
    """Versions are made under another name and renamed, and the link is replaced by another: at any time
    each is whole."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.as_posix()

    def versions(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        there = (item for item in self.folder.iterdir() if not item.name.startswith("."))
        return in_order(item.name for item in there if item.is_dir() and not item.is_symlink())

    def current(self) -> str | None:
        link = self.folder / CURRENT
        return link.readlink().name if link.exists() else None

    def differing(self, contents: Contents, version: str | None) -> set[str]:
        there = self._files(version or CURRENT)
        return (contents.keys() ^ there.keys()) | {
            path for path in contents.keys() & there.keys() if not _same(contents[path], there[path])
        }

    def add(self, contents: Contents, version: str) -> Placed:
        with self._alone():
            with atomic_directory(self.folder / version) as partial:
                for path, content in contents.items():
                    _put(content, partial / path)
            return self._show(version)

    def move(self, version: str) -> Placed:
        with self._alone():
            return self._show(version)

    def _files(self, version: str) -> dict[str, Path]:
        folder = self.folder / version
        files = (file for file in folder.rglob("*") if file.is_file())
        return {file.relative_to(folder).as_posix(): file for file in files}

    def _show(self, version: str) -> Placed:
        partial = self.folder / f".{CURRENT}.partial-link"
        partial.unlink(missing_ok=True)
        partial.symlink_to(version)
        partial.replace(self.folder / CURRENT)
        return Placed((self.folder / version).as_posix())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(file_lock(self.folder / ".lock"))
            except OSError as error:
                raise ParrotError(
                    f"{self.folder}: cannot be written ({error.strerror}); correct that, or publish.folder"
                ) from None
            stack.enter_context(naming_full_disk(self.folder))
            yield


def _same(content: Path | bytes, file: Path) -> bool:
    if isinstance(content, bytes):
        return file.read_bytes() == content
    return file.samefile(content) or filecmp.cmp(file, content, shallow=False)


def _put(content: Path | bytes, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        place.write_bytes(content)
    elif not _link(content, place):
        shutil.copyfile(content, place)


def _link(file: Path, place: Path) -> bool:
    """Give weights a second name, so that they are not stored twice.

    What has several names already is DVC's cache, which is to keep its permissions.
    """
    if file.suffix != WEIGHTS or file.is_symlink() or file.stat().st_nlink > 1:
        return False
    try:
        os.link(file, place)
    except OSError:  # another disk, or one that knows no links
        return False
    return True
