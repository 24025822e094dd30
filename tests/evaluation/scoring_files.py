"""Small benchmark files and tables of predictions."""

import base64
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Cells = dict[str, Any]


def image(number: int) -> str:
    """Base64 that is long enough for a picture, of its own for each number."""
    return base64.b64encode(b"picture %06d " % number * 8).decode()


def ask(index: int, **cells: Any) -> Cells:
    """A question with two options, of which A is right."""
    row = {"index": index, "question": "What is it?", "hint": "", "A": "red", "B": "blue", "C": "", "D": ""}
    row |= {"answer": "A", "category": "colour", "l2-category": "", "image": image(index)}
    return row | cells


def rotations(index: int, texts: Sequence[str], right: str, **cells: Any) -> list[Cells]:
    """A question in every rotation of its options; the main row first."""
    rows = []
    for turn in range(len(texts)):
        turned = dict(zip("ABCD", [*texts[turn:], *texts[:turn]], strict=False))
        answer = next(letter for letter, text in turned.items() if text == right)
        picture = image(index) if turn == 0 else str(index)
        rows.append(ask(index + turn * 1_000_000, **turned, answer=answer, image=picture, **cells))
    return rows


def write_table(path: Path, rows: Sequence[Cells], encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_pair(
    folder: Path, questions: Sequence[Cells], predictions: Sequence[str], name: str = "mmmb_en.tsv"
) -> tuple[Path, Path]:
    """A folder with the questions' file, and one with the predictions for it in their order."""
    write_table(folder / "tsv" / name, questions)
    pairs = zip(questions, predictions, strict=True)
    write_table(folder / "pred" / name, [{"index": row["index"], "prediction": text} for row, text in pairs])
    return folder / "tsv", folder / "pred"
