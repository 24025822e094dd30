"""Finding the name that a data file gives among those that an archive or a folder has."""

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cached_property
from posixpath import basename, commonprefix, dirname

# In which a name may have been written where nobody noted it; each has its own bytes for one name.
_ENCODINGS = ("utf-8", "gb18030", "shift_jis", "big5", "euc_kr", "cp1251", "cp866", "cp1252", "cp850",
              "cp1254", "cp1256")  # fmt: skip


class Names:
    """The names of an archive's members, or of one folder's entries.

    Args:
        names: as they are stored, parted by `/`.
        codec: how bytes of an unknown encoding became these names, and with which error handler.
        folder: names are asked for relative to this one. Without it, and if all are in one folder, they
            are found relative to that folder, too.
    """

    def __init__(self, names: Iterable[str], codec: tuple[str, str], folder: str = "") -> None:
        self.stored = frozenset(names)
        self._codec = codec
        self._folder = folder

    def find(self, name: str) -> str | None:
        """The stored name; the same up to its Unicode form, its encoding and the folder on top."""
        for candidate in self._candidates(name):
            if candidate in self.stored:
                return candidate
            if stored := self._by_form.get(_composed(candidate)):
                return stored
        for candidate in self._candidates(name):
            for misread in self._misread(candidate):
                if misread in self.stored:
                    return misread
        return None

    def near(self, name: str) -> str | None:
        """A stored name that is not `name`, but may be meant: in another folder, or in other cases."""
        return self._by_base.get(_loose(basename(name)))

    def has_folder(self, folder: str) -> bool:
        forms = (unicodedata.normalize(form, folder) for form in ("NFC", "NFD"))
        beginnings = tuple(f"{written}/" for written in (*forms, *self._misread(folder)))
        return any(name.startswith(beginnings) for name in self.stored)

    def _candidates(self, name: str) -> Iterator[str]:
        if self._folder:
            yield f"{self._folder}/{name}"
            return
        yield name
        top = self._top
        while top:
            yield f"{top}/{name}"
            top = dirname(top)

    def _misread(self, name: str) -> Iterator[str]:
        for form in () if name.isascii() else ("NFC", "NFD"):
            for encoding in _ENCODINGS:
                try:
                    yield unicodedata.normalize(form, name).encode(encoding).decode(*self._codec)
                except UnicodeError:
                    continue

    @cached_property
    def _top(self) -> str:
        """The folder that everything is in; what stands before the last `/` that all names share."""
        names = [name for name in self.stored if not _is_litter(name)]
        # All names between the first and the last in order begin with what these two share.
        return dirname(commonprefix([min(names), max(names)])) if names else ""

    @cached_property
    def _by_form(self) -> dict[str, str]:
        return {_composed(name): name for name in self.stored if not name.isascii()}

    @cached_property
    def _by_base(self) -> dict[str, str]:
        return {_loose(basename(name)): name for name in sorted(self.stored) if not _is_litter(name)}


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _loose(name: str) -> str:
    return _composed(name).casefold()


def _is_litter(name: str) -> bool:
    """What systems add to a folder or archive on their own."""
    base = basename(name)
    return name.startswith("__MACOSX/") or base.startswith("._") or base in (".DS_Store", "Thumbs.db")
