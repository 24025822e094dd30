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
    shares = 100 * pd.DataFrame(seeing).T[[*languages, OVERALL]]
    _write_heat_map(folder / "accuracy.png", shares, title="Accuracy, %", form="{:.0f}", top=100)
    if experts:
        weights = pd.DataFrame(experts).rename(lambda row: row + 1)
        table = weights.rename_axis("expert").reset_index().melt("expert", None, "language", "weight")
        table = table[["language", "expert", "weight"]]
        table.to_csv(folder / "experts.csv", index=False, lineterminator="\n")
        _write_heat_map(
            folder / "experts.png",
            weights.rename(lambda number: f"expert {number}"),
            title="Mean expert weight",
            form="{:.2f}",
            top=max(2 / len(weights), weights.to_numpy().max()),  # equal weights are a middle tone
        )


def _write_heat_map(path: Path, values: pd.DataFrame, *, title: str, form: str, top: float) -> None:
    """A table as coloured cells with their numbers, coloured from 0 to `top`."""
    rows, columns = values.shape
    figure = Figure(
        figsize=(1.8 + 0.75 * columns, 1.0 + 0.34 * rows), dpi=120, layout="constrained"
    )  # inches
    axes = figure.add_subplot()
    axes.imshow(values, cmap="YlGnBu", vmin=0, vmax=top, aspect="auto")
    axes.set_title(title)
    axes.set_xticks(range(columns), values.columns)
    axes.set_yticks(range(rows), values.index)
    axes.tick_params(length=0)
    for (y, x), value in np.ndenumerate(values):
        colour = "white" if value > 0.6 * top else "black"
        axes.text(x, y, form.format(value), ha="center", va="center", color=colour, fontsize=9)
    # No version of matplotlib in the file: the same numbers are the same bytes.
    figure.savefig(path, metadata={"Software": None})
