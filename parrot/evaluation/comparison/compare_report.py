"""What a person looks at after `parrot compare`: a table on the console and a plot."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from parrot.evaluation.comparison.differences import Comparison
from parrot.files import atomic_file


def table(a: str, b: str, run: str, comparisons: Sequence[Comparison]) -> str:
    """Accuracies in per cent, one line a group; `*` where the interval of the difference excludes zero."""
    width = max(len(comparison.name) for comparison in comparisons)
    lines = [
        f"A: {a}",
        f"B: {b}",
        f"{run + ', %':<{width}}  questions      A      B   A - B   95 % interval         p    Holm",
    ]
    previous = comparisons[0].family
    for one in comparisons:
        if one.family != previous:
            lines.append("")
        previous = one.family
        value, low, high = (100 * share for share in one.difference)
        mark = "*" if one.difference.excludes_zero else " "
        lines.append(
            f"{one.name:<{width}}  {one.questions:9} {100 * one.a.value:6.1f} {100 * one.b.value:6.1f} "
            f"{value:+7.1f}  [{low:+6.1f}, {high:+6.1f}] {mark} {_p(one.p):>7} {_p(one.p_holm):>7}"
        )
    sizes = Counter(comparison.family for comparison in comparisons)
    counted = ", ".join(f"{count} {family}" for family, count in sizes.items())
    lines += [
        "",
        "* the interval (of resampled clusters, not corrected) excludes zero; p: McNemar's exact test, which "
        "takes questions as independent",
        f"{len(comparisons)} comparisons ({counted}); Holm: p corrected for the number in its family",
    ]
    return "\n".join(lines)


def _p(value: float) -> str:
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def write_plot(path: Path, comparisons: Sequence[Comparison]) -> None:
    """A PNG with one line a group: the difference in points, its interval, and where zero is."""
    figure = Figure(figsize=(6.4, 1.2 + 0.28 * len(comparisons)), dpi=120, layout="constrained")  # inches
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for y, one in enumerate(comparisons):
        value, low, high = (100 * share for share in one.difference)
        colour = "tab:blue" if one.difference.excludes_zero else "tab:gray"
        axes.plot([low, high], [y, y], color=colour)
        axes.plot(value, y, marker="o", color=colour)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_title("A minus B, points, with 95 % intervals")
    axes.set_yticks(range(len(comparisons)), [one.name for one in comparisons], parse_math=False)
    axes.invert_yaxis()
    with atomic_file(path) as partial:
        # No version of matplotlib in the file: the same numbers are the same bytes.
        figure.savefig(partial, metadata={"Software": None})
