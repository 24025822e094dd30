"""From samples to accuracies by language, with intervals, and to what a picture adds. No model, no files."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from statistics import fmean

from parrot.evaluation.benchmarks.benchmark import Benchmark
from parrot.evaluation.benchmarks.rotations import scored_groups
from parrot.evaluation.samples import Sample, grouped
from parrot.evaluation.scoring.multiple_choice import paired
from parrot.evaluation.scoring.statistics import Estimate, accuracy_interval, difference_interval

OVERALL = "overall"
"""The mean of the languages' accuracies, so that every language counts the same."""
SEEING, NO_IMAGE = "seeing", "blind"
"""The names, in files and tables, of the runs that show the question's own picture and that do not."""

Accuracy = dict[str, float]
"""Language -> share of right answers in 0 … 1, and `overall`."""


def with_overall(shares: Mapping[str, float]) -> Accuracy:
    return {**shares, OVERALL: fmean(shares.values())}


def rounded(shares: Mapping[str, float]) -> Accuracy:
    """With the 4 decimals that metrics have."""
    return {name: round(share, 4) for name, share in shares.items()}


def accuracy(samples: Sequence[Sample], run: str) -> Accuracy:
    """Languages in the order of the samples, `overall` (the mean over them) the last."""
    by_language = grouped(samples, lambda sample: sample.language)
    return with_overall({name: fmean(hits_of(group, run)) for name, group in by_language.items()})


def category_accuracy(samples: Sequence[Sample], run: str) -> dict[str, Accuracy]:
    """Category -> accuracy in the languages that have it."""
    groups = grouped(samples, lambda sample: sample.question.category)
    return {category: accuracy(group, run) for category, group in groups.items()}


def l2_accuracy(samples: Sequence[Sample], run: str) -> dict[str, Accuracy]:
    """Broader category -> language -> accuracy; empty where the benchmark names none."""
    groups = grouped(samples, lambda sample: sample.question.l2_category)
    return {
        name: {language: share for language, share in accuracy(group, run).items() if language != OVERALL}
        for name, group in groups.items()
        if name
    }


def pair_accuracy(samples: Sequence[Sample], run: str) -> Accuracy:
    """Language -> share of opposite questions of which both are right; only languages that have such."""
    found = {
        language: paired([(sample.question, sample.hits[run]) for sample in group])["accuracy"]
        for language, group in grouped(samples, lambda sample: sample.language).items()
    }
    return {language: share for language, share in found.items() if share is not None}


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
    return [sample.hits[run] for sample in samples]


def _by_language(
    samples: Sequence[Sample], estimate: Callable[[Sequence[Sample]], Estimate]
) -> dict[str, Estimate]:
    groups: dict[str, Sequence[Sample]] = {**grouped(samples, lambda sample: sample.language)}
    return {name: estimate(group) for name, group in {**groups, OVERALL: samples}.items()}
