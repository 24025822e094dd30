"""A source looked through before any stage runs: every record that is broken, with its place and reason."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from parrot.config import Images, Source
from parrot.data.rejects import Reject, as_json, kind
from parrot.data.sources.reading import SourceReader

_LANGUAGE = "en"
_MENDED = "mended"


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """One that `prepare` would reject, or would mend by a named rule."""

    language: str
    position: int
    """In its file, from 0; shards are one file."""
    id: str
    field: str
    reason: str

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{self.language} {self.position}: id {self.id}: {where}{self.reason}"


def unnamed_source(format_: str, annotations: Path, images: Path | None) -> Source:
    """Of a file that no params.yaml names."""
    return Source(
        split="sft", format=format_, path=str(annotations), images=str(images or annotations),
        language=_LANGUAGE,
    )  # fmt: skip


class Check:
    """Iterates over the broken records of a source, every picture decoded, and counts.

    Raises:
        ParrotError: then or while it iterates: a file or the pictures are missing or broken.
    """

    def __init__(self, name: str, source: Source, images: Images, languages: Sequence[str]) -> None:
        self.read = 0
        self.reasons: Counter[str] = Counter()
        self._languages = languages
        self._reader = SourceReader(name, source, images)
        self._reader.check_inputs(languages)

    def __iter__(self) -> Iterator[BrokenRecord]:
        for language, position, entry in self._reader.entries(self._languages):
            self.read += 1
            made = self._reader.record(language, position, entry)
            if isinstance(made, Reject):
                self.reasons[kind(made.reason)] += 1
                yield BrokenRecord(language, position, made.record, made.field, made.reason)
            elif made.mended:
                self.reasons[_MENDED] += 1
                rules = ", ".join(made.mended)
                yield BrokenRecord(language, position, made.id, "", f"{_MENDED}: {rules}")

    def table(self) -> str:
        """How many are broken, by reason."""
        lines = [f"{count:>9,}  {reason}" for reason, count in self.reasons.most_common()]
        total = self.reasons.total()
        return "\n".join([*lines, f"{total:>9,}  of {self.read:,} records are broken"])

    def as_json(self, broken: Sequence[BrokenRecord]) -> str:
        rows = [{name: getattr(one, name) for name in BrokenRecord.__slots__} for one in broken]
        return as_json({"read": self.read, "broken": rows, "reasons": dict(self.reasons.most_common())})
