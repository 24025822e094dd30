"""From samples to accuracies by language, with intervals, and to what a picture adds. No model, no files."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from operator import attrgetter
from statistics import fmean
from typing import Any

from parrot.evaluation.benchmarks.benchmark import Benchmark, scored_groups
from parrot.evaluation.extraction.extract import comparable
from parrot.evaluation.samples import Sample, grouped
from parrot.evaluation.scoring.statistics import Estimate, accuracy_interval, difference_interval

OVERALL = "overall"
"""The mean of the languages' accuracies, so that every language counts the same."""
SEEING, NO_IMAGE = "seeing", "blind"
"""The names, in files and tables, of the runs that show the question's own picture and that do not."""

Accuracy = dict[str, float]
"""Language -> share of right answers in 0 … 1, and `overall`."""
_language, _category = attrgetter("language"), attrgetter("question.category")


def judged(samples: Sequence[Sample], *, circular: bool) -> list[Sample]:
    """The samples of one file that count (`scored_groups`), each with whether its answers are right."""
    by_index = {sample.question.index: sample for sample in samples}
    found = []
    for main, rows in scored_groups([sample.question for sample in samples], circular=circular):
        sample = by_index[main.index]
        answers = {
            run: replace(
                answer, hit=all(by_index[row.index].answers[run].choice == row.answer for row in rows)
            )
            for run, answer in sample.answers.items()
        }
        found.append(replace(sample, answers=answers))
    return found


def with_overall(shares: Mapping[str, float]) -> Accuracy:
    return {**shares, OVERALL: fmean(shares.values())}


def rounded(shares: Mapping[str, float]) -> Accuracy:
    """With the 4 decimals that metrics have."""
    return {name: round(share, 4) for name, share in shares.items()}


def shares_by(samples: Sequence[Sample], run: str, key: Callable[[Sample], str]) -> dict[str, float]:
    """Key -> share of hits (0 to 1) of the samples that have one, in the order of the samples."""
    return {name: fmean(hits_of(group, run)) for name, group in grouped(samples, key).items() if name}


def accuracy(samples: Sequence[Sample], run: str) -> Accuracy:
    """Languages in the order of the samples, `overall` (the mean over them) the last."""
    return with_overall(shares_by(samples, run, _language))


def category_accuracy(samples: Sequence[Sample], run: str) -> dict[str, Accuracy]:
    """Category -> accuracy in the languages that have it."""
    groups = grouped(samples, _category)
    return {category: accuracy(group, run) for category, group in groups.items()}


def l2_accuracy(samples: Sequence[Sample], run: str) -> dict[str, dict[str, float]]:
    """Broader category -> language -> accuracy; empty where the benchmark names none."""
    groups = grouped(samples, lambda sample: sample.question.l2_category)
    return {name: shares_by(group, run, _language) for name, group in groups.items() if name}


def pair_accuracy(samples: Sequence[Sample], run: str) -> dict[str, float]:
    """Language -> share of opposite questions of which both are right; only languages that have such."""
    groups = grouped(samples, _language)
    found = {language: paired(group, run)["accuracy"] for language, group in groups.items()}
    return {language: share for language, share in found.items() if share is not None}


def in_asked_language(samples: Sequence[Sample], run: str) -> dict[str, float]:
    """Language -> of the written answers that are an option of the benchmark, the share that is one in it.

    Only languages that have such answers, and `overall`, the mean over these.
    """
    groups = grouped(samples, _language)
    texts = {
        language: {comparable(text) for sample in group for text in sample.question.options.values()}
        for language, group in groups.items()
    }
    everywhere = set().union(*texts.values())
    found: dict[str, float] = {}
    for language, group in groups.items():
        answers = [comparable(sample.answers[run].text or "") for sample in group]
        if known := [answer in texts[language] for answer in answers if answer in everywhere]:
            found[language] = fmean(known)
    return with_overall(found) if found else found


def paired(samples: Sequence[Sample], run: str) -> dict[str, Any]:
    """How often both of a pair are right.

    A pair is two questions about one picture, of one category and with the same two options (such as Yes
    and No, in either order), whose right answers differ. `accuracy` is None where there is no pair.
    """
    alike: dict[tuple[Any, ...], list[tuple[str, bool]]] = {}
    for sample, hit in zip(samples, hits_of(samples, run), strict=True):
        question = sample.question
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


def chance(benchmark: Benchmark, *, circular: bool) -> float:
    """The expected overall accuracy of a guess that takes each option with the same probability."""
    return fmean(
        fmean(
            prod(1 / len(question.options) for question in rows)
            for _, rows in scored_groups(questions, circular=circular)
        )
        for questions in benchmark.values()
    )


def accuracy_estimates(samples: Sequence[Sample], run: str) -> dict[str, Estimate]:
    """Language and `overall` -> accuracy with its interval."""
    return _by_language(samples, lambda group: accuracy_interval(hits_of(group, run), *columns(group)))


def image_gain(samples: Sequence[Sample]) -> dict[str, Estimate]:
    """Language and `overall` -> what the picture adds: seeing minus no image, with its interval."""
    return _by_language(
        samples,
        lambda group: difference_interval(hits_of(group, SEEING), hits_of(group, NO_IMAGE), *columns(group)),
    )


def gain_warnings(found: Mapping[str, Estimate]) -> list[str]:
    """A sentence for each image gain whose interval reaches down to zero."""
    return [
        f"{name}: the picture may not help: seeing minus blind is {points(value)} points "
        f"[{points(low)}, {points(high)}]"
        for name, (value, low, high) in found.items()
        if low <= 0
    ]


def points(share: float) -> str:
    """0.0125 as +1.3, with a minus sign that is one."""
    return f"{100 * share:+.1f}".replace("-", "−")


def columns(samples: Sequence[Sample]) -> tuple[list[str], list[str]]:
    """The language and the cluster of each sample."""
    return [sample.language for sample in samples], [sample.question.cluster for sample in samples]


def hits_of(samples: Sequence[Sample], run: str) -> list[bool]:
    return [bool(sample.answers[run].hit) for sample in samples]


def _by_language(
    samples: Sequence[Sample], estimate: Callable[[Sequence[Sample]], Estimate]
) -> dict[str, Estimate]:
    groups = {**grouped(samples, _language), OVERALL: samples}
    return {name: estimate(group) for name, group in groups.items()}
