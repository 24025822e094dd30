"""`parrot compare`: which differences between two evaluations of the same questions are more than luck."""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parrot.errors import ParrotError
from parrot.evaluation.samples import FOLDER, Evaluation, grouped, read_evaluation
from parrot.evaluation.scoring.accuracy import OVERALL, columns, hits_of
from parrot.evaluation.scoring.statistics import (
    CONFIDENCE,
    RESAMPLES,
    SEED,
    Estimate,
    accuracy_interval,
    difference_interval,
    holm,
    mcnemar,
)
from parrot.files import atomic_file, write_json
from parrot.lineage import flatten

SHOWN = 5
"""Of the questions that stand in the way of a comparison."""
_RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})")


@dataclass(frozen=True)
class Comparison:
    """Two evaluations on one group of questions; accuracies are means over the languages, 0 … 1."""

    family: str
    """`overall`, `language` or `category`: among these `p_holm` is corrected."""
    name: str
    questions: int
    a: Estimate
    b: Estimate
    difference: Estimate
    """A minus B."""
    only_a: int
    """Questions that A alone answered rightly."""
    only_b: int
    p: float
    """McNemar's, over all questions of the group."""
    p_holm: float

    def as_json(self) -> dict[str, Any]:
        estimates = {name: getattr(self, name)._asdict() for name in ("a", "b", "difference")}
        return vars(self) | estimates


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


def compare_evaluations(first: Evaluation, second: Evaluation, run: str) -> list[Comparison]:
    """Overall, by language and by category, in the order of the first evaluation.

    Raises:
        ParrotError: the two did not ask the same in the same way, or neither has such a `run`.
    """
    if problems := what_differs(first, second):
        raise ParrotError(
            f"{first.name} (A) and {second.name} (B) cannot be compared; evaluate one of them again with "
            "the questions and prompts of the other:\n" + "\n".join(f"  {problem}" for problem in problems)
        )
    if run not in first.runs:
        raise ParrotError(f"--run {run}: no such answers in {first.name}; it has {', '.join(first.runs)}")
    families = {
        "overall": {OVERALL: first.samples},
        "language": grouped(first.samples, lambda sample: sample.language),
        "category": grouped(first.samples, lambda sample: sample.question.category),
    }
    others = {sample.key: sample for sample in second.samples}
    compared = []
    for family, groups in families.items():
        found = []
        for name, group in groups.items():
            a, b = hits_of(group, run), hits_of([others[sample.key] for sample in group], run)
            outcomes = Counter(zip(a, b, strict=True))
            only_a, only_b = outcomes[True, False], outcomes[False, True]
            estimates = (
                accuracy_interval(a, *columns(group)),
                accuracy_interval(b, *columns(group)),
                difference_interval(a, b, *columns(group)),
            )
            p = mcnemar(only_a, only_b)
            found.append(Comparison(family, name, len(group), *estimates, only_a, only_b, p, p_holm=p))
        corrected = holm([one.p for one in found])
        compared += [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]
    return compared


def what_differs(first: Evaluation, second: Evaluation, names: tuple[str, str] = ("A", "B")) -> list[str]:
    """Each setting that differs, and the questions that only one has, in the words of `names`."""
    one, two = names
    a, b = flatten(first.settings), flatten(second.settings)
    problems = [
        f"{name}: {_shown(a, name)} in {one}, {_shown(b, name)} in {two}"
        for name in a | b
        if (name in a) != (name in b) or a[name] != b[name]
    ]
    mine = {sample.key: sample.question for sample in first.samples}
    other = {sample.key: sample.question for sample in second.samples}
    for place, keys in (
        (f"only in {one}", mine.keys() - other.keys()),
        (f"only in {two}", other.keys() - mine.keys()),
        (
            "of another category, answer or cluster",
            {key for key in mine.keys() & other.keys() if mine[key] != other[key]},
        ),
    ):
        if keys:
            named = ", ".join(f"{language} {index}" for language, index in sorted(keys)[:SHOWN])
            more = ", …" if len(keys) > SHOWN else ""
            problems.append(f"questions {place}: {len(keys)} ({named}{more})")
    return problems


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name], ensure_ascii=False) if name in settings else "absent"


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
    from matplotlib.figure import Figure  # takes a second; for plots only

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
