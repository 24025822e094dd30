"""`parrot compare`: which differences between two evaluations of the same questions are more than luck."""

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from parrot.errors import ParrotError
from parrot.evaluation.comparison.differences import Comparison, compare_evaluations
from parrot.evaluation.samples import FOLDER, Evaluation, read_evaluation
from parrot.evaluation.scoring.statistics import CONFIDENCE, RESAMPLES, SEED
from parrot.files import atomic_file, write_json

_RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})")


def compare(a: str, b: str, run: str, output: Path | None) -> list[Comparison]:
    """Print a table of A minus B; write it to `output` as JSON, with a plot (.png) beside it.

    Args:
        a: an evaluation folder, or an MLflow run (32 hexadecimal digits, `runs:/` before them or not).
        b: the same.
        run: which of the answers, such as `seeing`.

    Raises:
        ParrotError: an evaluation cannot be read, the two did not ask the same in the same way, or
            `output` does not end in .json.
    """
    if output and output.suffix != ".json":
        raise ParrotError(f"--output {output}: must end in .json; the plot gets the same name with .png")
    first, second = load(a), load(b)
    comparisons = compare_evaluations(first, second, run)
    print(table(first.name, second.name, run, comparisons))
    if output:
        result = {
            "a": first.name,
            "b": second.name,
            "run": run,
            "confidence": CONFIDENCE,
            "resamples": RESAMPLES,
            "seed": SEED,
            "settings": first.settings,
            "comparisons": [comparison.as_json() for comparison in comparisons],
        }
        write_json(output, result)
        write_plot(output.with_suffix(".png"), comparisons)
    return comparisons


def load(source: str) -> Evaluation:
    """Read an evaluation folder, or that of an MLflow run."""
    if Path(source).is_dir():
        return read_evaluation(Path(source))
    known = _RUN.fullmatch(source)
    if known is None:
        raise ParrotError(
            f"{source}: neither a folder nor an MLflow run; name an evaluation folder that `parrot evaluate` "
            f"wrote, or runs:/ID with the 32 hexadecimal digits of a run"
        )
    from parrot.tracking import fetch_artifact

    with tempfile.TemporaryDirectory() as folder:
        return read_evaluation(fetch_artifact(known[1], FOLDER, Path(folder)), source)


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
