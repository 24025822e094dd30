"""Two evaluations of the same questions, number against number. No files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from parrot.errors import ParrotError
from parrot.evaluation.samples import Evaluation, dotted, grouped
from parrot.evaluation.scoring.accuracy import OVERALL, columns, hits_of
from parrot.evaluation.scoring.statistics import (
    Estimate,
    accuracy_interval,
    difference_interval,
    holm,
    mcnemar,
)

SHOWN = 5
"""Of the questions that stand in the way of a comparison."""


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


def compare_evaluations(first: Evaluation, second: Evaluation, run: str) -> list[Comparison]:
    """Overall, by language and by category, in the order of the first evaluation.

    Raises:
        ParrotError: the two did not ask the same in the same way, or neither has such a `run`.
    """
    check_comparable(first, second)
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
            only_a = sum(right and not other for right, other in zip(a, b, strict=True))
            only_b = sum(other and not right for right, other in zip(a, b, strict=True))
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


def check_comparable(first: Evaluation, second: Evaluation) -> None:
    """Raise a `ParrotError` that names every setting that differs and the questions that only one has."""
    if problems := what_differs(first, second):
        raise ParrotError(
            f"{first.name} (A) and {second.name} (B) cannot be compared; evaluate one of them again with "
            "the questions and prompts of the other:\n" + "\n".join(f"  {problem}" for problem in problems)
        )


def what_differs(first: Evaluation, second: Evaluation, names: tuple[str, str] = ("A", "B")) -> list[str]:
    """Each setting that differs, and the questions that only one has, in the words of `names`."""
    one, two = names
    a, b = dotted(first.settings), dotted(second.settings)
    problems = [
        f"{name}: {_shown(a, name)} in {one}, {_shown(b, name)} in {two}"
        for name in a | b
        if (name in a) != (name in b) or a[name] != b[name]
    ]
    mine = {sample.key: sample.question for sample in first.samples}
    other = {sample.key: sample.question for sample in second.samples}
    changed = [key for key in mine.keys() & other.keys() if mine[key] != other[key]]
    for place, keys in (
        (f"only in {one}", mine.keys() - other.keys()),
        (f"only in {two}", other.keys() - mine.keys()),
        ("of another category, answer or cluster", changed),
    ):
        if keys:
            named = ", ".join(f"{language} {index}" for language, index in sorted(keys)[:SHOWN])
            more = ", …" if len(keys) > SHOWN else ""
            problems.append(f"questions {place}: {len(keys)} ({named}{more})")
    return problems


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name], ensure_ascii=False) if name in settings else "absent"
