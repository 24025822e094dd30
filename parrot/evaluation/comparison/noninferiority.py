"""Is a challenger better than a champion overall, and in no language worse by a margin? No files.

The resamples are those of `parrot compare`, and a claim is tested on one side of its interval: of two equal
models one is found better, or worse, with probability alpha, half of it on either side. Claims about the
languages are corrected by Holm for their number, since the verdict hangs on the worst of them.
"""

from dataclasses import dataclass
from math import comb
from statistics import NormalDist, fmean
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parrot.evaluation.scoring.accuracy import OVERALL
from parrot.evaluation.scoring.statistics import MIN_CLUSTERS, Estimate, holm, resample

POWER = 0.8
"""How often a difference as large as `Assessed.smallest_difference` is found."""

Finding = Literal["good", "worse", "unclear"]

_DECIMALS = 6  # as the intervals have
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Assessed:
    """Challenger minus champion overall (the mean over the languages) or in a language; shares of 1."""

    name: str
    questions: int
    challenger: float
    champion: float
    difference: Estimate
    """With the interval of 1 - alpha."""
    p_good: float
    """One-sided: of a challenger that is no better; in a language, of one that is worse by the margin."""
    p_worse: float
    """One-sided: of a challenger that is no worse. Both are Holm's among the languages."""
    smallest_difference: float
    """What is found with probability `POWER`; in a language at the strictest of Holm's levels."""
    finding: Finding
    """`good`: better overall; in a language, not worse by the margin."""


class _Group(NamedTuple):
    """Questions that are counted together."""

    name: str
    questions: int
    challenger: float
    champion: float
    means: NDArray[np.float64]
    """[resamples] of the difference; empty where there are too few clusters to claim anything."""
    clusters: int
    differing: int
    """Clusters with a question that one of the two alone answers rightly."""
    losing: int
    """Clusters with a question that the champion alone answers rightly."""


def assess(
    challenger: ArrayLike,
    champion: ArrayLike,
    languages: ArrayLike,
    clusters: ArrayLike,
    *,
    margin: float,
    alpha: float,
) -> list[Assessed]:
    """Overall first, then each language in the order of its first question.

    Args:
        challenger: whether its answer is right, of each question.
        champion: the same of the same questions.
        languages: of each question.
        clusters: of each question; those of one cluster are right or wrong together.
    """
    hits, others = np.asarray(challenger, dtype=float), np.asarray(champion, dtype=float)
    overall, *parts = _groups(hits, others, np.asarray(languages), np.asarray(clusters))
    good = holm([_p_above(-margin, part) for part in parts])
    worse = holm([_p_below_zero(part) for part in parts])
    return [
        _tested(overall, _p_above(0.0, overall), _p_below_zero(overall), alpha, 1),
        *(
            _tested(part, p_good, p_worse, alpha, len(parts))
            for part, p_good, p_worse in zip(parts, good, worse, strict=True)
        ),
    ]


def _groups(
    hits: NDArray[np.float64], others: NDArray[np.float64], languages: NDArray[Any], clusters: NDArray[Any]
) -> list[_Group]:
    drawn = resample(hits - others, languages, clusters)
    _, cluster = np.unique(clusters, return_inverse=True)
    _, first, language = np.unique(languages, return_index=True, return_inverse=True)

    def group(name: str, chosen: NDArray[np.bool_], means: NDArray[np.float64], a: float, b: float) -> _Group:
        clusters_of, differing, losing = (
            np.unique(cluster[chosen & some]).size for some in (chosen, hits != others, hits < others)
        )
        if clusters_of < MIN_CLUSTERS:
            means = means[:0]
        return _Group(name, int(chosen.sum()), a, b, means, clusters_of, differing, losing)

    parts = []
    for place in np.argsort(first):  # `drawn` and `language` count languages in the order of their names
        chosen = language == place
        a, b = float(hits[chosen].mean()), float(others[chosen].mean())
        parts.append(group(drawn.languages[place], chosen, drawn.means[:, place], a, b))
    a, b = fmean(part.challenger for part in parts), fmean(part.champion for part in parts)
    return [group(OVERALL, np.ones(len(hits), dtype=bool), drawn.means.mean(axis=1), a, b), *parts]


def _p_above(bound: float, group: _Group) -> float:
    """Of a difference that is no more than `bound`, which is at most zero."""
    if not len(group.means):
        return 1.0
    p = _share(group.means <= bound + _ROUNDING)
    if group.differing < MIN_CLUSTERS:
        # Resampling finds hardly any spread. But with a loss of m a share m of the clusters, if they are of
        # one size, has a part in it, at least; how many of n have is binomial, and few had.
        n, m = group.clusters, -bound
        p = max(p, sum(comb(n, k) * m**k * (1 - m) ** (n - k) for k in range(group.losing + 1)))
    return min(p, 1.0)


def _p_below_zero(group: _Group) -> float:
    """Of a difference that is zero or more."""
    if not len(group.means) or group.differing < MIN_CLUSTERS:
        return 1.0
    return _share(group.means >= -_ROUNDING)


def _share(resamples: NDArray[np.bool_]) -> float:
    """Of those against a claim, with what was found as one more."""
    return float((1 + np.count_nonzero(resamples)) / (1 + len(resamples)))


def _tested(group: _Group, p_good: float, p_worse: float, alpha: float, tests: int) -> Assessed:
    level = alpha / 2
    finding: Finding = "good" if p_good <= level else "worse" if p_worse <= level else "unclear"
    low, high, smallest = -1.0, 1.0, 1.0
    if len(group.means):
        low, high = np.quantile(group.means, [level, 1 - level])
        if group.differing < MIN_CLUSTERS:
            low, high = min(low, 0.0), max(high, 0.0)
        normal = NormalDist()
        errors = normal.inv_cdf(1 - level / tests) + normal.inv_cdf(POWER)
        smallest = max(errors * group.means.std(ddof=1), MIN_CLUSTERS / group.clusters)
    challenger, champion = _rounded(group.challenger), _rounded(group.champion)
    difference = Estimate(_rounded(group.challenger - group.champion), _rounded(low), _rounded(high))
    return Assessed(
        group.name,
        group.questions,
        challenger,
        champion,
        difference,
        p_good,
        p_worse,
        _rounded(smallest),
        finding,
    )


def _rounded(value: float) -> float:
    return round(float(value), _DECIMALS) + 0.0  # no negative zero
