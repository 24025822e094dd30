"""Heat maps, and the tables behind them."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from parrot.evaluation.scoring.accuracy import OVERALL, Accuracy


def write_plots(
    folder: Path,
    languages: Sequence[str],
    seeing: dict[str, Accuracy],
    no_image: dict[str, Accuracy],
    experts: dict[str, list[float]],
) -> None:
    """Write `accuracy.csv` and `.png`, and `experts.csv` and `.png` if there are experts.

    Args:
        seeing: category -> accuracy.
        no_image: category -> accuracy without the picture.
        experts: language -> mean weight of each expert.
    """
    _write_csv(
        folder / "accuracy.csv",
        ("language", "category", "accuracy", "blind"),
        (
            (language, category, seeing[category][language], no_image[category][language])
            for language in languages
            for category in seeing
        ),
    )
    columns = [*languages, OVERALL]
    values = [[100 * row[column] for column in columns] for row in seeing.values()]
    _write_heat_map(
        folder / "accuracy.png", values, list(seeing), columns, title="Accuracy, %", form="{:.0f}", top=100
    )
    if experts:
        _write_csv(
            folder / "experts.csv",
            ("language", "expert", "weight"),
            (
                (language, expert, weight)
                for language, weights in experts.items()
                for expert, weight in enumerate(weights, start=1)
            ),
        )
        by_expert = np.array(list(experts.values())).T.tolist()
        names = [f"expert {number}" for number in range(1, len(by_expert) + 1)]
        _write_heat_map(
            folder / "experts.png",
            by_expert,
            names,
            list(experts),
            title="Mean expert weight",
            form="{:.2f}",
            top=max(2 / len(by_expert), *map(max, by_expert)),  # equal weights are a middle tone
        )


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_heat_map(
    path: Path,
    values: list[list[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    form: str,
    top: float,
) -> None:
    """`values` [rows, columns] as coloured cells with their numbers, coloured from 0 to `top`."""
    size = (1.8 + 0.75 * len(columns), 1.0 + 0.34 * len(rows))  # inches
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="YlGnBu", vmin=0, vmax=top, aspect="auto")
    axes.set_title(title)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            colour = "white" if value > 0.6 * top else "black"
            axes.text(x, y, form.format(value), ha="center", va="center", color=colour, fontsize=9)
    # No version of matplotlib in the file: the same numbers are the same bytes.
    figure.savefig(path, metadata={"Software": None})
