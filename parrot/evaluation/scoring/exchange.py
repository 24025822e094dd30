"""Predictions as files: tables of index and prediction, VLMEvalKit's among them."""

import csv
import json
from collections.abc import Collection, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from parrot.data.tsv import read_rows, whole_number, wrong_cell
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.suites import BenchmarkFile
from parrot.evaluation.samples import SETTINGS
from parrot.files import atomic_file, file_digest

TABLES = "vlmevalkit"
"""In the folder that `parrot evaluate` writes: the folder of VLMEvalKit's tables."""
COLUMNS = ("index", "prediction")


def find_predictions(folder: Path, tsv: Path) -> Path:
    """The table in `folder` that is named as `tsv`, or so with the ending .xlsx, or that of an evaluation.

    Raises:
        ParrotError: there is none, or several, or the evaluation was of another file of this name.
    """
    if (folder / SETTINGS).is_file():
        return _evaluated(folder, tsv)
    candidates = [folder / tsv.name, folder / f"{tsv.stem}.xlsx"]
    found = [path for path in candidates if path.is_file()]
    if not found:
        raise ParrotError(
            f"{candidates[0]}: not found; it has to hold the predictions for {tsv}, or {folder} has to be a "
            f"folder that `parrot evaluate` wrote"
        )
    if len(found) > 1:
        raise ParrotError(f"{found[1]}: stands beside {found[0].name}; keep the one that counts")
    return found[0]


def _evaluated(folder: Path, tsv: Path) -> Path:
    """The table of written answers in a folder that `parrot evaluate` wrote."""
    settings = folder / SETTINGS
    try:
        tree = json.loads(settings.read_text(encoding="utf-8"))
        asked = {entry["file"]: (language, entry["sha256"]) for language, entry in tree["benchmark"].items()}
        circular = bool(tree["circular"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ParrotError(
            f"{settings}: not what `parrot evaluate` writes; evaluate the model again"
        ) from None
    if tsv.name not in asked:
        raise ParrotError(f"{settings}: {tsv.name} was not asked, but {', '.join(map(str, asked))}; "
                          f"name the folder of these files")  # fmt: skip
    language, sha256 = asked[tsv.name]
    if file_digest(tsv) != sha256:
        raise ParrotError(f"{tsv}: not the file of this name that the model was asked ({settings}); "
                          f"name that one's folder")  # fmt: skip
    table = folder / TABLES / f"{BenchmarkFile.of(tsv, language, circular=circular).vlmevalkit_name}.tsv"
    if not table.is_file():
        raise ParrotError(f"{table}: not found; evaluate the model again")
    return table


def read_predictions(path: Path, known: Collection[int]) -> dict[int, str]:
    """Index -> prediction, from a .tsv or .xlsx with these two columns and any others.

    Args:
        known: indices of the questions' file.

    Raises:
        ParrotError: the table cannot be read, or has a row that is doubled or unknown.
    """
    predictions: dict[int, str] = {}
    for row, cells in _read_sheet(path) if path.suffix == ".xlsx" else read_rows(path, COLUMNS):
        index = whole_number(path, row, "index", cells["index"])
        if index not in known:
            raise wrong_cell(path, row, "index", f"{index} is no question of the file of this name")
        if index in predictions:
            raise wrong_cell(path, row, "index", f"{index} has a prediction already")
        predictions[index] = cells["prediction"]
    return predictions


def require_predictions(path: Path, predictions: Mapping[int, str], required: Iterable[int]) -> None:
    """See that every question has a prediction.

    Raises:
        ParrotError: `path` has none for one; names the first, and how many more.
    """
    if missing := [index for index in required if index not in predictions]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ParrotError(f"{path}: column 'index': no prediction for question {missing[0]}{more}; add it")


def _read_sheet(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    if find_spec("openpyxl") is None:
        raise ParrotError(f"{path}: reading .xlsx needs the package openpyxl; "
                          f"install it, or save the table as .tsv")  # fmt: skip
    try:
        frame = pd.read_excel(path, dtype=str, keep_default_na=False)
    except Exception as error:  # openpyxl raises whatever it stumbles over
        raise ParrotError(f"{path}: not readable as a workbook ({error}); save the table as .tsv") from None
    for name in COLUMNS:
        if name not in frame:
            raise ParrotError(
                f"{path}: column '{name}' is missing; the file has {', '.join(map(str, frame))}"
            )
    return enumerate(frame[list(COLUMNS)].to_dict("records"), start=2)


def write_vlmevalkit_table(
    path: Path, rows: Iterable[Mapping[str, str]], predictions: Mapping[int, str]
) -> None:
    """Write the prediction table that VLMEvalKit reads: the columns of a TSV, and `prediction`.

    Args:
        path: a .tsv, whose name ends with the data set's (`vlmevalkit_name`).
        rows: the cells of a TSV by column, pictures included or not.
        predictions: index -> text; every row needs one.

    Raises:
        ParrotError: a prediction is missing, or there is no row.
    """
    cells_of = {int(cells["index"]): cells for cells in rows}
    if not cells_of:
        raise ParrotError(f"{path}: no row to write")
    require_predictions(path, predictions, cells_of)
    table = pd.DataFrame(
        [{**cells, "prediction": predictions[index]} for index, cells in cells_of.items()], dtype=str
    )
    with atomic_file(path) as partial:
        # All in quotes: else a lone carriage return would end a row.
        table.to_csv(partial, sep="\t", index=False, quoting=csv.QUOTE_ALL, lineterminator="\n")
