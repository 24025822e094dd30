"""What an evaluation comes to: accuracies with intervals, what the picture adds, where it is worst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from parrot.evaluation.report.accuracy import OVERALL, Accuracy
from parrot.evaluation.report.records import Answered, columns, grouped
from parrot.evaluation.report.statistics import Estimate, accuracy_interval, difference_interval

SEEING, BLIND = "seeing", "blind"
"""The runs that show the question's own picture and that do not."""


@dataclass(frozen=True)
class Table:
    """Languages are in the order of the evaluation, `overall` (the mean over them) is the last."""

    accuracy: dict[str, dict[str, Estimate]]
    """Run -> language and `overall` -> share of right answers."""
    eyes: dict[str, Estimate]
    """Language and `overall` -> seeing minus blind; empty without a blind run."""
    category: dict[str, Accuracy]
    """Category -> share of right answers, seeing."""


def summarise(answered: Sequence[Answered], runs: Sequence[str]) -> Table:
    """The numbers of a page; `runs` holds `seeing`, and perhaps `blind` and others."""
    return Table(
        accuracy={run: accuracies(answered, run) for run in runs},
        eyes=eyes(answered) if BLIND in runs else {},
        category=category_accuracy(answered),
    )


def accuracies(answered: Sequence[Answered], run: str) -> dict[str, Estimate]:
    """Language and `overall` -> accuracy in a run, with its interval."""
    return {
        name: accuracy_interval(_hits(group, run), *columns(group))
        for name, group in _by_language(answered).items()
    }


def eyes(answered: Sequence[Answered]) -> dict[str, Estimate]:
    """Language and `overall` -> what the picture adds: seeing minus blind, with its interval."""
    return {
        name: difference_interval(_hits(group, SEEING), _hits(group, BLIND), *columns(group))
        for name, group in _by_language(answered).items()
    }


def eye_warnings(found: Mapping[str, Estimate]) -> list[str]:
    """A sentence for each of `eyes` whose interval reaches down to zero."""
    return [
        f"{name}: the picture may not help: seeing minus blind is {points(value)} points "
        f"[{points(low)}, {points(high)}]"
        for name, (value, low, high) in found.items()
        if low <= 0
    ]


def points(share: float) -> str:
    """0.0125 as +1.3, with a minus sign that is one."""
    return f"{100 * share:+.1f}".replace("-", "−")


def category_accuracy(answered: Sequence[Answered]) -> dict[str, Accuracy]:
    """Category -> accuracy (seeing) in the languages that have the category, and `overall` their mean."""
    found = {}
    for category, group in grouped(answered, lambda question: question.category).items():
        by_language = grouped(group, lambda question: question.language)
        shares = {name: fmean(_hits(questions, SEEING)) for name, questions in by_language.items()}
        found[category] = shares | {OVERALL: fmean(shares.values())}
    return found


def worst_categories(category: Mapping[str, Accuracy], count: int) -> list[str]:
    """The categories with the lowest mean over the languages, the worst first; ties in their order."""
    return sorted(category, key=lambda name: category[name][OVERALL])[:count]


def choose_wrong(answered: Sequence[Answered], category: str, count: int) -> list[Answered]:
    """Questions that a seeing model got wrong: the first ones, languages taking turns, no cluster twice."""
    wrong = [one for one in answered if one.category == category and not one.replies[SEEING].hit]
    queues = [iter(group) for group in grouped(wrong, lambda question: question.language).values()]
    chosen: dict[str, Answered] = {}
    while queues and len(chosen) < count:
        queue = queues.pop(0)
        question = next((one for one in queue if one.cluster not in chosen), None)
        if question is not None:
            chosen[question.cluster] = question
            queues.append(queue)
    return list(chosen.values())


def _by_language(answered: Sequence[Answered]) -> dict[str, Sequence[Answered]]:
    return {**grouped(answered, lambda question: question.language), OVERALL: answered}


def _hits(answered: Sequence[Answered], run: str) -> list[bool]:
    return [question.replies[run].hit for question in answered]
