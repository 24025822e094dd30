"""The members of a tar, of which none is lost in silence."""

import tarfile
from collections.abc import Iterator
from typing import IO, Self


class _Strict(tarfile.TarInfo):
    """A header that is broken, cut or missing; tarfile takes one behind the first for the archive's end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # a block of zeros, which every tool writes at the end
        except tarfile.HeaderError as error:
            if archive.offset == 0:
                raise  # tarfile itself says so
            raise tarfile.ReadError(f"broken after {archive.offset} bytes: {error}") from None


def tar_members(file: IO[bytes], mode: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The members in order, each with the archive that reads it.

    Args:
        mode: of `tarfile.open`: `r:` for an archive that is read in any order, `r|*` for one that may be
            compressed.

    Raises:
        tarfile.TarError, OSError: it is no tar, or one that is broken or ends early. What decompressors
            raise besides passes.
    """
    with tarfile.open(fileobj=file, mode=mode, tarinfo=_Strict) as archive:  # type: ignore[call-overload]
        for member in archive:
            if member.size < 0 or archive.offset < member.offset_data:  # else it is read in a circle
                raise tarfile.ReadError(f"{member.name} has {member.size} bytes")
            yield archive, member
            archive.members = []  # else it keeps a kilobyte for each
