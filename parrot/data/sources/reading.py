"""A source, opened: its entries one by one, and what becomes of each. Nothing is written here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from parrot.config import Format, Images, Source
from parrot.data.images import ImageStore, decode_within
from parrot.data.looks import look
from parrot.data.records import Record
from parrot.data.rejects import Reject, Rejected, as_json
from parrot.data.sources.containers import files_of, read_entries, read_pieces
from parrot.data.sources.described import to_record
from parrot.data.sources.formats import format_of
from parrot.data.sources.json_lines import Lines
from parrot.data.sources.plain import PlainTalks, plain_talks
from parrot.data.sources.text import entry_id

_CHECKED_PICTURES = 200_000
"""That are remembered at once: memory stays flat, and a picture is rarely decoded twice."""


@dataclass
class SourceReader:
    """Of the source `name` of params.yaml.

    Raises:
        ParrotError: the format is not known.
    """

    name: str
    source: Source
    limits: Images
    left_out: int = 0
    """Entries that `only` of the format does not want, of those that were iterated over so far."""
    _whole: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """Pictures that were decoded, and their looks: one that many records have is decoded once."""

    def __post_init__(self) -> None:
        self.form: Format = format_of(self.name, self.source.format)

    @cached_property
    def store(self) -> ImageStore | None:
        """The pictures, if the source has any beside its files.

        Raises:
            ParrotError: they are missing or cannot be opened.
        """
        has_pictures = self.source.images != self.source.path or self.source.files is not None
        return ImageStore(self.source.images) if has_pictures else None

    def check_inputs(self, languages: Sequence[str]) -> None:
        """See that all files and the pictures are there before work begins.

        Raises:
            ParrotError: names the first that is not.
        """
        for path in self.source.by_language(languages).values():
            files_of(path)
        _ = self.store

    def entries(self, languages: Sequence[str]) -> Iterator[tuple[str, int, Any]]:
        """Language, position in its file (from 0) and entry, in the order of the languages' files.

        Raises:
            ParrotError: a file is missing or broken; says where.
        """
        for language, path in self.source.by_language(languages).items():
            for position, entry in read_entries(path, self.form):
                if isinstance(entry, dict) and not self._wants(entry):
                    self.left_out += 1
                else:
                    yield language, position, entry

    def pieces(self, languages: Sequence[str], most: int) -> Iterator[tuple[str, Lines | tuple[int, Any]]]:
        """Language, and position and entry, or entries that are not parsed yet: as `read_pieces` cuts them.

        Raises:
            ParrotError: as `entries`.
        """
        if self.form.only:
            yield from (
                (language, (position, entry)) for language, position, entry in self.entries(languages)
            )
            return
        for language, path in self.source.by_language(languages).items():
            yield from ((language, piece) for piece in read_pieces(path, self.form, most))

    def plain(self, lines: Lines, content: bytes) -> PlainTalks | None:
        """The records of some lines for which `record` has nothing to do, if they can be told."""
        ignored = {*self.form.ignore, *self.source.ignore}
        return plain_talks(content, lines.number, lines.position, self.form, ignored)

    def record(self, language: str, position: int, entry: Any) -> Record | Reject:
        """What becomes of one of `entries`, with its pictures decoded once to see that they are whole."""
        try:
            known = entry
            if isinstance(entry, dict) and self.source.ignore:
                known = {key: value for key, value in entry.items() if key not in self.source.ignore}
            record = to_record(known, position, language, self.name, self.store, self.form)
            looks: list[bytes] = []
            for image in record.images:
                if (seen := (image.path, hash(image.bytes))) not in self._whole:
                    found = self._check(image.path, image.bytes)
                    if len(self._whole) == _CHECKED_PICTURES:
                        self._whole.clear()
                    self._whole[seen] = found
                looks.append(self._whole[seen])
        except Rejected as error:
            name = entry_id(entry, position, self.form.columns.id)
            who = self.name, language, name
            return Reject(*who, error.field, error.reason, position, as_json(entry))
        return replace(record, looks=tuple(looks)) if self.limits.near_bits is not None else record

    def _wants(self, entry: dict[str, Any]) -> bool:
        return all(entry[key] in wanted for key, wanted in self.form.only.items() if key in entry)

    def _check(self, name: str, encoded: bytes) -> bytes:
        """Its look, if that is asked for."""
        rgb = decode_within(encoded, self.limits.max_megapixels)
        width, height = rgb.size
        least, most = self.limits.min_pixels, self.limits.max_pixels
        found = f"{name} has {width} × {height} pixels"
        if min(width, height) < least:
            raise Rejected("image", f"image too small: {found}, fewer than {least}")
        if max(width, height) > most:
            raise Rejected("image", f"image too large: {found}, more than {most}")
        return look(rgb) if self.limits.near_bits is not None else b""
