"""Entries that `prepare` rejected, written out for editing, and taken back into the file they came from."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from parrot.config import Images, Source
from parrot.data.reject_tables import read_rejects
from parrot.data.rejects import Reject, as_json
from parrot.data.sources.json_buffer import DOUBLED
from parrot.data.sources.json_items import read_items, read_texts
from parrot.data.sources.reading import SourceReader
from parrot.errors import ParrotError
from parrot.files import atomic_file

ORIGINAL = ".original"
"""What the publisher's file is called once repaired entries stand in its place."""


def write_out(rejects: Path, target: Path) -> int:
    """Rejected entries as JSON lines, each with its place and the reason; returns how many.

    Raises:
        ParrotError: there is no table of rejects, or the target is there: it may hold repairs.
    """
    if target.exists():
        raise ParrotError(f"{target}: is there already; take it back with --take, or move it away")
    count = 0
    with atomic_file(target) as partial, partial.open("w", encoding="utf-8") as file:
        for reject in read_rejects(rejects):
            count += 1
            where = {"language": reject.language, "position": reject.position, "id": reject.record}
            why = {"field": reject.field, "reason": reject.reason}
            entry = json.loads(reject.entry, object_pairs_hook=_unmarked)
            file.write(as_json(where | why | {"entry": entry}) + "\n")
    return count


def _unmarked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without the reader's mark that it names a key twice."""
    return {key: value for key, value in pairs if key != DOUBLED}


def take_back(
    repaired: Path, name: str, source: Source, images: Images, languages: Sequence[str]
) -> dict[Path, int]:
    """Put repaired entries in the places of the rejected ones; returns how many in which file.

    The next `prepare` reads them there. The publisher's file stays beside it, with `.original` behind its
    name. Lines that were deleted from `repaired` leave their entries as they are, to the letter.

    Raises:
        ParrotError: an entry is still broken, or has no place; or the files are no lists of entries in JSON.
    """
    reader = SourceReader(name, source, images)
    form, files = reader.form, source.by_language(languages)
    if form.entries or form.each or form.reader or any("*" in path.name for path in files.values()):
        raise ParrotError(f"sources.{name}: its files are no lists of entries; repair them by hand")
    repairs: dict[str, dict[int, Any]] = {language: {} for language in files}
    for number, line in enumerate(read_items(repaired), start=1):
        try:
            language, position, entry = line["language"], line["position"], line["entry"]
            if not isinstance(position, int):
                raise TypeError
            repairs[language][position] = entry
        except (KeyError, TypeError):
            raise ParrotError(
                f"{repaired}: line {number}: lacks `language`, `position` or `entry`, as they were written"
            ) from None
        if isinstance(found := reader.record(language, position, entry), Reject):
            raise ParrotError(
                f"{repaired}: line {number}: still broken: {found.field}: {found.reason}; correct the entry, "
                f"or delete the line"
            )
    return {files[language]: _replace(files[language], some) for language, some in repairs.items() if some}


def _replace(path: Path, repairs: dict[int, Any]) -> int:
    with path.open("rb") as file:
        is_list = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    with atomic_file(path) as partial:
        with partial.open("w", encoding="utf-8") as file:
            file.write("[\n" if is_list else "")
            for number, text in enumerate(_texts(path, repairs)):
                file.write((",\n" if is_list else "\n") * bool(number) + text)
            file.write("\n]\n" if is_list else "\n")
        original = path.with_name(path.name + ORIGINAL)
        if not original.exists():
            with atomic_file(original) as copy:
                shutil.copyfile(path, copy)
    return len(repairs)


def _texts(path: Path, repairs: dict[int, Any]) -> Iterator[str]:
    position = -1
    for position, text in enumerate(read_texts(path)):
        yield as_json(repairs[position]) if position in repairs else text
    if beyond := [place for place in repairs if not 0 <= place <= position]:
        raise ParrotError(f"{path}: has {position + 1} entries, none has position {beyond[0]}")
