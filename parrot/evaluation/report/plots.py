"""Heat maps, and the tables behind them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
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
    rows = [
        (language, category, seeing[category][language], no_image[category][language])
        for language in languages
        for category in seeing
    ]
    table = pd.DataFrame(rows, columns=["language", "category", "accuracy", "blind"])
    table.to_csv(folder / "accuracy.csv", index=False, lineterminator="\n")
    columns = [*languages, OVERALL]
    values = [[100 * row[column] for column in columns] for row in seeing.values()]
    _write_heat_map(
        folder / "accuracy.png", values, list(seeing), columns, title="Accuracy, %", form="{:.0f}", top=100
    )
    if experts:
        weighed = [
            (language, expert, weight)
            for language, weights in experts.items()
            for expert, weight in enumerate(weights, start=1)
        ]
        table = pd.DataFrame(weighed, columns=["language", "expert", "weight"])
        table.to_csv(folder / "experts.csv", index=False, lineterminator="\n")
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
