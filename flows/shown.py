"""What people look at of a stage, as artifacts of its run: numbers as tables, plots as pictures."""

import base64
import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_image_artifact, create_table_artifact

from parrot.lineage import flatten
from parrot.pipeline.graph import GraphStage

_MOST_ROWS = 100
_MOST_BYTES = 500_000
"""Of a picture: it is kept in the server's database."""
_WIDTH, _HEIGHT, _EDGE = 640, 240, 40
_X = "step"
"""A CSV file whose first column is called this is a curve."""


def artifact_key(text: str) -> str:
    """Prefect takes no other letters than these."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def show_results(stage: GraphStage) -> None:
    """Show the stage's metrics and plots, as dvc.yaml names them."""
    for file in _files(stage.shown):
        key = artifact_key(str(file))
        if file.suffix == ".json":
            numbers = flatten(json.loads(file.read_text(encoding="utf-8")))
            create_table_artifact([{"metric": name, "value": value} for name, value in numbers.items()], key)
        elif file.suffix == ".csv":
            with file.open(encoding="utf-8", newline="") as stream:
                rows: list[dict[str, Any]] = list(csv.DictReader(stream))
            if rows and next(iter(rows[0])) == _X:
                create_image_artifact(_picture("svg+xml", curve(rows, list(rows[0])[1]).encode()), key)
            else:
                create_table_artifact(rows[:_MOST_ROWS], key)
        elif file.suffix == ".png" and file.stat().st_size <= _MOST_BYTES:
            create_image_artifact(_picture("png", file.read_bytes()), key)


def _files(names: Sequence[str]) -> Iterator[Path]:
    for path in map(Path, names):
        yield from (sorted(path.rglob("*")) if path.is_dir() else filter(Path.is_file, [path]))


def _picture(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def curve(rows: Sequence[dict[str, Any]], y: str) -> str:
    """A line of the column `y` over the steps, as SVG, with both axes' ends."""
    points = [(float(row[_X]), float(row[y])) for row in rows if row[_X] and row[y]]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(value for _, value in points), max(value for _, value in points)

    def at(x: float, value: float) -> str:
        across = _EDGE + (x - left) / ((right - left) or 1) * (_WIDTH - 2 * _EDGE)
        down = _HEIGHT - _EDGE - (value - low) / ((high - low) or 1) * (_HEIGHT - 2 * _EDGE)
        return f"{across:.1f},{down:.1f}"

    def text(x: float, down: float, what: str) -> str:
        return f'<text x="{x}" y="{down}" font-family="sans-serif" font-size="12">{what}</text>'

    line = " ".join(at(x, value) for x, value in points)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        f'<rect width="100%" height="100%" fill="white"/>'
        f'<polyline points="{line}" fill="none" stroke="#1f77b4" stroke-width="1.5"/>'
        f"{text(4, _EDGE, f'{high:.4g}')}{text(4, _HEIGHT - _EDGE, f'{low:.4g}')}"
        f"{text(_EDGE, _HEIGHT - 16, f'{_X} {left:g}')}{text(_WIDTH - 80, _HEIGHT - 16, f'{right:g}')}"
        f"{text(_EDGE, 20, y)}</svg>"
    )
