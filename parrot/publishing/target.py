"""What a place is that keeps the versions of a model: the Hub, or a folder."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from parrot.errors import ParrotError

CARD = "README.md"
WEIGHTS = ".safetensors"
CURRENT = "current"

Contents = Mapping[str, Path | bytes]
"""Path in the published model, with `/`, -> the file that holds its content, or the content."""

_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")


class Placed(NamedTuple):
    """Where a version is now."""

    revision: str
    """A commit of the Hub, or a folder."""
    pull_request: str | None = None
    """Its address, as long as nobody has taken it over."""


class Target(Protocol):
    """A place that keeps versions of one model, and shows one of them to whoever names none.

    Each call either does all that it says or can be made again, and then does the rest.
    """

    @property
    def name(self) -> str:
        """What `from_pretrained` takes."""

    def versions(self) -> list[str]:
        """Those that are there whole, in their order."""

    def current(self) -> str | None:
        """The version that is shown."""

    def differing(self, contents: Contents, version: str | None) -> set[str]:
        """The paths at which a version (None: what is shown now) has something else, nothing, or more."""

    def add(self, contents: Contents, version: str) -> Placed:
        """Keep a new version, and show it."""

    def move(self, version: str) -> Placed:
        """Show a version that is there."""


@dataclass(frozen=True)
class Published:
    """What a publication has done."""

    name: str
    """What `from_pretrained` takes."""
    version: str
    placed: Placed | None
    """None: it was there, and shown."""


def in_order(versions: Iterable[str]) -> list[str]:
    """Numbers by their value: 9 comes before 10."""
    return sorted(
        versions,
        key=lambda version: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", version)],
    )


def check_version(version: str) -> None:
    """
    Raises:
        ParrotError: it can be no tag of the Hub, or no folder.
    """
    if not _VERSION.fullmatch(version) or ".." in version or version in (CURRENT, "main"):
        raise ParrotError(
            f"version '{version}': letters and digits, and behind the first also . - and _ are expected"
        )


def size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def read(content: Path | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()
