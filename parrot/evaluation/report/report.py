"""What a person looks at: a table on the console, heat maps, and the tables behind them."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from parrot.evaluation.report.accuracy import OVERALL, Accuracy


def table(metrics: dict[str, Any]) -> str:
    """Shares in per cent with 95 % intervals, one line a language.

    *eyes* is seeing minus blind, *kit* the written answers as VLMEvalKit reads them.
    """
    written = metrics["written"]
    columns = {
        "letter": metrics["letter"],
        "written": written["parrot"],
        "kit": written["vlmevalkit"],
        "unreadable": metrics["unreadable"],
    }
    heads = "".join(f"{name:>11}" for name in columns)
    lines = [f"accuracy, % {'seeing':>8}{'95 %':>17}{'blind':>8}{'eyes':>8}{'95 %':>17}{heads}"]
    for name, share in metrics["accuracy"].items():
        eyes = metrics["eyes"][name]
        cells = "".join(f"{100 * column[name]:11.1f}" for column in columns.values())
        lines.append(
            f"{name:<12}{100 * share:8.1f}{_interval(metrics['interval'][name]):>17}"
            f"{100 * metrics['blind'][name]:8.1f}{100 * eyes['value']:+8.1f}{_interval(eyes):>17}{cells}"
        )
    return "\n".join([*lines, f"chance is {metrics['chance']:.1%}"])


def _interval(bounds: Mapping[str, float]) -> str:
    return f"[{100 * bounds['low']:.1f}, {100 * bounds['high']:.1f}]"


def write_plots(
    folder: Path,
    languages: Sequence[str],
    seeing: dict[str, Accuracy],
    blind: dict[str, Accuracy],
    experts: dict[str, list[float]],
) -> None:
    """Write `accuracy.csv` and `.png`, and `experts.csv` and `.png` if there are experts.

    Args:
        seeing: category -> accuracy.
        blind: category -> accuracy without the picture.
        experts: language -> mean weight of each expert.
    """
    _write_csv(
        folder / "accuracy.csv",
        ("language", "category", "accuracy", "blind"),
        (
            (language, category, seeing[category][language], blind[category][language])
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
    FigureCanvasAgg(figure)
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
