"""From the letters read out of answers to hits and accuracies; plain or circular. No model, no files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion
from parrot.evaluation.benchmarks.rotations import scored_groups

NO_SPLIT = "none"

ScoredQuestion = tuple[MultipleChoiceQuestion, bool]
"""A question, and whether it was answered right."""


def hits(
    questions: Sequence[MultipleChoiceQuestion], extracted: Mapping[int, str | None], *, circular: bool
) -> list[ScoredQuestion]:
    """The questions that count (`scored_groups`), and whether each was answered right.

    Args:
        extracted: index -> the letter that was read from an answer.
    """
    right = {question.index: extracted[question.index] == question.answer for question in questions}
    return [
        (main, all(right[question.index] for question in rows))
        for main, rows in scored_groups(questions, circular=circular)
    ]


def accuracies(scored: Sequence[ScoredQuestion]) -> dict[str, Any]:
    """`overall`, and `category` and `l2_category` (name -> share of hits, 0 to 1).

    A question without a name counts in no category of that kind.
    """
    return {
        "overall": fmean(hit for _, hit in scored),
        "category": _by_name([(question.category, hit) for question, hit in scored]),
        "l2_category": _by_name([(question.l2_category, hit) for question, hit in scored]),
    }


def by_split(scored: Sequence[ScoredQuestion]) -> dict[str, dict[str, Any]]:
    """Name of a split -> its accuracies; where the file names none, the one split `none`."""
    names = sorted({question.split or NO_SPLIT for question, _ in scored})
    return {
        name: accuracies([pair for pair in scored if (pair[0].split or NO_SPLIT) == name]) for name in names
    }


def paired(scored: Sequence[ScoredQuestion]) -> dict[str, Any]:
    """How often both of a pair are right.

    A pair is two questions about one picture, of one category and with the same two options (such as Yes
    and No, in either order), whose right answers differ. `accuracy` is None where there is no pair.
    """
    alike: dict[tuple[Any, ...], list[tuple[str, bool]]] = {}
    for question, hit in scored:
        texts = frozenset(question.options.values())
        if len(question.options) == len(texts) == 2:
            key = (question.cluster, question.category, texts)
            alike.setdefault(key, []).append((question.options[question.answer], hit))
    pairs = both = 0
    for members in alike.values():
        asked = Counter(text for text, _ in members)
        right = Counter(text for text, hit in members if hit)
        if len(asked) == 2:
            one, other = asked
            pairs += asked[one] * asked[other]
            both += right[one] * right[other]
    return {"pairs": pairs, "accuracy": both / pairs if pairs else None}


def _by_name(pairs: Sequence[tuple[str, bool]]) -> dict[str, float]:
    names: dict[str, list[bool]] = {}
    for name, hit in pairs:
        if name:
            names.setdefault(name, []).append(hit)
    return {name: fmean(values) for name, values in sorted(names.items())}
