"""Rows of a benchmark with drawn pictures, and files of them."""

import base64
import csv
import io
from pathlib import Path
from typing import Any

import PIL.Image


def picture(number: int, size: tuple[int, int] = (8, 8)) -> bytes:
    """A flat JPEG of its own colour."""
    file = io.BytesIO()
    colour = (number * 8 % 256, number * 40 % 256, number * 90 % 256)
    PIL.Image.new("RGB", size, colour).save(file, "JPEG", quality=95)
    return file.getvalue() + b"%d" % number  # behind the picture's end, so that no two are equal


def question(index: int, image: bytes | str, **cells: Any) -> dict[str, Any]:
    text = image if isinstance(image, str) else base64.b64encode(image).decode()
    row = {
        "index": index,
        "question": f"What is {index}?",
        "hint": "",
        "A": "one",
        "B": "two",
        "C": "",
        "D": "",
    }
    return row | {"answer": "A", "category": "count", "split": "dev", "image": text} | cells


def write_tsv(path: Path, rows: list[dict[str, Any]], encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path
