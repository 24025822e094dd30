"""Two evaluations of the same questions, number against number. No files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parrot.errors import ParrotError
from parrot.evaluation.report.accuracy import OVERALL
from parrot.evaluation.report.records import Answered, Evaluation, columns, grouped
from parrot.evaluation.report.statistics import (
    Estimate,
    accuracy_interval,
    difference_interval,
    holm,
    mcnemar,
)

SHOWN = 5
"""Of the questions that stand in the way of a comparison."""

_ABSENT = object()


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


def compare_evaluations(first: Evaluation, second: Evaluation, run: str) -> list[Comparison]:
    """Overall, by language and by category, in the order of the first evaluation.

    Raises:
        ParrotError: the two did not ask the same in the same way, or neither has such a `run`.
    """
    check_comparable(first, second)
    if run not in first.runs:
        raise ParrotError(f"--run {run}: no such answers in {first.name}; it has {', '.join(first.runs)}")
    families = {
        "overall": {OVERALL: first.answered},
        "language": grouped(first.answered, lambda question: question.language),
        "category": grouped(first.answered, lambda question: question.category),
    }
    replied = {_key(question): question.replies[run].hit for question in second.answered}
    compared: list[Comparison] = []
    for family, groups in families.items():
        found = [_compare(family, name, group, replied, run) for name, group in groups.items()]
        corrected = holm([comparison.p for comparison in found])
        compared += [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]
    return compared


def _compare(
    family: str, name: str, group: Sequence[Answered], replied: dict[tuple[str, int], bool], run: str
) -> Comparison:
    """`p_holm` is left as `p`."""
    a = [question.replies[run].hit for question in group]
    b = [replied[_key(question)] for question in group]
    only_a = sum(right and not other for right, other in zip(a, b, strict=True))
    only_b = sum(other and not right for right, other in zip(a, b, strict=True))
    p = mcnemar(only_a, only_b)
    return Comparison(
        family=family,
        name=name,
        questions=len(group),
        a=accuracy_interval(a, *columns(group)),
        b=accuracy_interval(b, *columns(group)),
        difference=difference_interval(a, b, *columns(group)),
        only_a=only_a,
        only_b=only_b,
        p=p,
        p_holm=p,
    )


def check_comparable(first: Evaluation, second: Evaluation) -> None:
    """Raise a `ParrotError` that names every setting that differs and the questions that only one has."""
    problems = list(_differences(first.settings, second.settings, ""))
    mine = {_key(question): question for question in first.answered}
    other = {_key(question): question for question in second.answered}
    changed = [
        key
        for key in mine.keys() & other.keys()
        if replace(mine[key], replies={}) != replace(other[key], replies={})
    ]
    for place, keys in (
        ("only in A", mine.keys() - other.keys()),
        ("only in B", other.keys() - mine.keys()),
        ("of another category, answer or cluster", changed),
    ):
        if keys:
            named = ", ".join(f"{language} {index}" for language, index in sorted(keys)[:SHOWN])
            more = ", …" if len(keys) > SHOWN else ""
            problems.append(f"questions {place}: {len(keys)} ({named}{more})")
    if problems:
        raise ParrotError(
            f"{first.name} (A) and {second.name} (B) cannot be compared; evaluate one of them again with "
            "the questions and prompts of the other:\n" + "\n".join(f"  {problem}" for problem in problems)
        )


def _differences(a: Any, b: Any, key: str) -> Iterator[str]:
    """A line for every leaf of the nested settings that is not equal."""
    if isinstance(a, dict) and isinstance(b, dict):
        for name in a | b:
            yield from _differences(
                a.get(name, _ABSENT), b.get(name, _ABSENT), f"{key}.{name}" if key else name
            )
    elif a != b:
        shown = ["absent" if side is _ABSENT else json.dumps(side, ensure_ascii=False) for side in (a, b)]
        yield f"{key}: {shown[0]} in A, {shown[1]} in B"


def _key(question: Answered) -> tuple[str, int]:
    return question.language, question.index
