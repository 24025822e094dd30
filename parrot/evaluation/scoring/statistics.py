"""How sure an accuracy is: cluster bootstrap, McNemar's test, Holm's correction. No model, no files.

Questions about one picture are right or wrong together, and so is one question in all languages. So
clusters are drawn anew and not questions (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
chapter 8), and one draw serves all languages: the same name in two languages is the same cluster.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 20240602
MIN_CLUSTERS = 6
"""Of fewer, all point the same way by chance more often than in 5 % of cases: 2 ** (1 - clusters)."""


class Estimate(NamedTuple):
    """A share or a difference of shares, and its 95 % confidence interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def accuracy_interval(
    hits: Sequence[bool], languages: Sequence[str], clusters: Sequence[str], *, seed: int = SEED
) -> Estimate:
    """The mean over the languages of their shares of right answers.

    Where all answers are right, or all wrong, resampling finds no spread; the bound is then that of
    Clopper and Pearson (1934) for as many trials as there are clusters.

    Args:
        hits: of each question; at least one.
        languages: of each question.
        clusters: of each question.

    Returns:
        0 … 1; an interval of 0 … 1 where there are fewer than `MIN_CLUSTERS`.
    """
    estimate = _mean_interval(np.asarray(hits, dtype=float), languages, clusters, 0.0, seed)
    least = ((1 - CONFIDENCE) / 2) ** (1 / len(set(clusters)))
    if all(hits):
        return estimate._replace(low=six_decimals(least), high=1.0)
    if not any(hits):
        return estimate._replace(low=0.0, high=six_decimals(1 - least))
    return estimate


def difference_interval(
    first: Sequence[bool],
    second: Sequence[bool],
    languages: Sequence[str],
    clusters: Sequence[str],
    *,
    seed: int = SEED,
) -> Estimate:
    """The accuracy of `first` minus that of `second` on the same questions, in the same resamples.

    Returns:
        -1 … 1; an interval of -1 … 1 where there are fewer than `MIN_CLUSTERS`, and one that reaches to
        zero where fewer than that differ at all.
    """
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    estimate = _mean_interval(differences, languages, clusters, -1.0, seed)
    differing = {cluster for cluster, difference in zip(clusters, differences, strict=True) if difference}
    if len(differing) < MIN_CLUSTERS:
        return estimate._replace(low=min(estimate.low, 0.0), high=max(estimate.high, 0.0))
    return estimate


def resample(
    values: NDArray[np.float64], languages: ArrayLike, clusters: ArrayLike, *, seed: int = SEED
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Draw clusters anew, once for all languages; `values`, `languages` and `clusters` are of each question.

    Returns:
        The languages, sorted; the mean of each on the questions as they are; and its means in the resamples,
        [resamples, languages], of which there is none where nothing can be claimed.
    """
    names, language = np.unique(languages, return_inverse=True)
    drawn, cluster = np.unique(clusters, return_inverse=True)
    sums = np.zeros((len(drawn), len(names)))
    sizes = np.zeros_like(sums)
    np.add.at(sums, (cluster, language), values)
    np.add.at(sizes, (cluster, language), 1)
    means = np.empty((0, len(names)))
    if len(drawn) >= MIN_CLUSTERS:
        summed, questions = np.hsplit(_draw(len(drawn), seed) @ np.hstack([sums, sizes]), 2)
        whole = questions.all(axis=1)  # where languages share few clusters, a draw can miss one altogether
        means = summed[whole] / questions[whole]
    return [str(name) for name in names], sums.sum(0) / sizes.sum(0), means


def _mean_interval(
    values: NDArray[np.float64], languages: Sequence[str], clusters: Sequence[str], lowest: float, seed: int
) -> Estimate:
    """Percentiles of the mean over the languages of sum / questions; `lowest` … 1 is what it can be."""
    _, by_language, means = resample(values, languages, clusters, seed=seed)
    value = six_decimals(by_language.mean())
    if not len(means):
        return Estimate(value, lowest, 1.0)
    low, high = np.quantile(means.mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, six_decimals(low), six_decimals(high))


@lru_cache(maxsize=1)  # languages and runs of one evaluation have the same number
def _draw(clusters: int, seed: int) -> NDArray[np.float64]:
    """How often each cluster is in each resample, [RESAMPLES, clusters]."""
    even = np.full(clusters, 1 / clusters)
    return np.random.default_rng(seed).multinomial(clusters, even, RESAMPLES).astype(float)


def six_decimals(value: float) -> float:
    """Further ones are rounding, and could put a bound of zero beside zero; zero is never negative."""
    return round(float(value), 6) + 0.0


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p value of McNemar's test, which takes the questions as independent.

    Questions that both answer alike say nothing and do not enter; without any other, p is 1.

    Args:
        only_first: questions that the first one alone answered rightly.
        only_second: questions that the second one alone answered rightly.
    """
    from scipy.stats import binomtest  # type: ignore[import-untyped]  # takes a second; for comparisons only

    pairs = only_first + only_second
    return float(binomtest(min(only_first, only_second), pairs).pvalue) if pairs else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for their number, each at its place (Holm, 1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return [float(value) for value in corrected]
