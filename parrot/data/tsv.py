"""Tab-separated files with a header: rows one by one, and errors that name file, row and column."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from parrot.errors import ParrotError

MAX_WHOLE_NUMBER = 2**63 - 1
"""What pandas, and so every other reader of these files, keeps exactly."""

MAX_EXACT_FLOAT = 2**53
"""From there on a number that was once a float may have been another one."""

_WHOLE = re.compile(r"([0-9]+)(\.0*)?")

csv.field_size_limit(1 << 30)  # pictures; the default is 128 KiB


def read_rows(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row's number (the header is row 1) and its cells by column; UTF-8, with or without BOM.

    Columns without a name, such as the one that pandas writes for its own index, are left out.

    Raises:
        ParrotError: the file is missing, is no such table, or lacks a required column.
    """
    row = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t", strict=True)
            columns = _header(path, next(reader, []), required)
            for row, cells in enumerate(reader, start=2):
                if not cells:
                    continue
                if len(cells) != len(columns):
                    raise ParrotError(f"{path}: row {row}: {len(cells)} cells under {len(columns)} columns; "
                                      f"is a quote or a tab missing?")  # fmt: skip
                for column, cell in zip(columns, cells, strict=True):
                    if "\0" in cell:
                        raise wrong_cell(path, row, column, "holds a NUL byte")
                yield row, {column: cell for column, cell in zip(columns, cells, strict=True) if column}
    except IsADirectoryError:
        raise ParrotError(f"{path}: a folder; name a file in it") from None
    except FileNotFoundError:
        raise ParrotError(f"{path}: not found; `parrot data` fetches or makes the demo data") from None
    except UnicodeDecodeError as error:
        raise ParrotError(f"{path}: not UTF-8 after row {row} ({error.reason}); save it as UTF-8") from None
    except csv.Error as error:
        raise ParrotError(
            f"{path}: row {row + 1}: not tab-separated with standard quoting: {error}"
        ) from None


def _header(path: Path, columns: list[str], required: Sequence[str]) -> list[str]:
    if any("\0" in name for name in columns):
        raise ParrotError(f"{path}: row 1: holds a NUL byte; save the file as UTF-8")
    for name in required:
        if name not in columns:
            found = ", ".join(column[:40] for column in columns)[:400] or "none"
            raise ParrotError(f"{path}: column '{name}' is missing; the file has {found}")
    for name in filter(None, columns):
        if columns.count(name) > 1:
            raise ParrotError(f"{path}: row 1: column '{name[:40]}' stands there twice; remove one")
    return columns


def whole_number(path: Path, row: int, column: str, text: str) -> int:
    """`text` as a number from 0 to `MAX_WHOLE_NUMBER`, also as pandas writes a column with gaps: "7.0".

    Raises:
        ParrotError: it is something else.
    """
    found = _WHOLE.fullmatch(text.strip())
    if found is None:
        raise wrong_cell(path, row, column, f"{text[:80]!r} is no whole number from 0 on")
    digits, was_float = found.groups()
    largest = MAX_EXACT_FLOAT if was_float else MAX_WHOLE_NUMBER
    if len(digits) > len(str(largest)) or int(digits) > largest:
        raise wrong_cell(path, row, column, f"{text[:80]} is larger than {largest}")
    return int(digits)


def wrong_cell(path: Path, row: int, column: str, problem: str) -> ParrotError:
    return ParrotError(
        f"{path}: row {row}, column '{column[:40]}': {problem[:400]}; correct the file or fetch it again"
    )
