"""Is a challenger better than a champion overall, and in no language worse by a margin? No files.

The resamples are those of `parrot compare`, and a claim is tested on one side of its interval: of two equal
models one is found better, or worse, with probability alpha, half of it on either side. Claims about the
languages are corrected by Holm for their number, since the verdict hangs on the worst of them.
"""

from dataclasses import dataclass
from math import comb
from statistics import NormalDist, fmean
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parrot.evaluation.scoring.accuracy import OVERALL
from parrot.evaluation.scoring.statistics import MIN_CLUSTERS, Estimate, holm, resample, six_decimals

POWER = 0.8
"""How often a difference as large as `Assessed.smallest_difference` is found."""

Finding = Literal["good", "worse", "unclear"]

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
    language, cluster = np.asarray(languages), np.unique(clusters, return_inverse=True)[1]
    drawn = resample(hits - others, language, cluster)
    parts = []
    for name in dict.fromkeys(language.tolist()):
        chosen = language == name
        means = drawn.means[:, drawn.languages.index(str(name))]
        parts.append(_group(str(name), hits[chosen], others[chosen], cluster[chosen], means))
    overall = _group(OVERALL, hits, others, cluster, drawn.means.mean(axis=1))._replace(
        challenger=fmean(part.challenger for part in parts), champion=fmean(part.champion for part in parts)
    )
    good = holm([_p_above(-margin, part) for part in parts])
    worse = holm([_p_below_zero(part) for part in parts])
    return [
        _tested(overall, _p_above(0.0, overall), _p_below_zero(overall), alpha, 1),
        *(_tested(*tested, alpha, len(parts)) for tested in zip(parts, good, worse, strict=True)),
    ]


def _group(
    name: str,
    hits: NDArray[np.float64],
    others: NDArray[np.float64],
    cluster: NDArray[np.int64],
    means: NDArray[np.float64],
) -> _Group:
    clusters, differing, losing = (
        np.unique(some).size for some in (cluster, cluster[hits != others], cluster[hits < others])
    )
    means = means[:0] if clusters < MIN_CLUSTERS else means
    a, b = float(hits.mean()), float(others.mean())
    return _Group(name, len(hits), a, b, means, clusters, differing, losing)


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
    difference = Estimate(*map(six_decimals, (group.challenger - group.champion, low, high)))
    return Assessed(
        name=group.name,
        questions=group.questions,
        challenger=six_decimals(group.challenger),
        champion=six_decimals(group.champion),
        difference=difference,
        p_good=p_good,
        p_worse=p_worse,
        smallest_difference=six_decimals(smallest),
        finding=finding,
    )
