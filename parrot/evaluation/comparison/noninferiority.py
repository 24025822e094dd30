"""Is a challenger better than a champion overall, and in no language worse by a margin? No files.

The resamples are those of `parrot compare`, and a claim is tested on one side of its interval: of two equal
models one is found better, or worse, with probability alpha, half of it on either side. Claims about the
languages are corrected by Holm for their number, since the verdict hangs on the worst of them.
"""

from dataclasses import dataclass, replace
from math import comb
from statistics import NormalDist, fmean
from typing import Literal

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
    finding: Finding = "unclear"
    """`good`: better overall; in a language, not worse by the margin."""


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
    names, _, means = resample(hits - others, language, cluster)
    parts = {str(name): language == name for name in dict.fromkeys(language.tolist())}
    shares = {name: (float(hits[some].mean()), float(others[some].mean())) for name, some in parts.items()}
    level = alpha / 2
    found = [
        _assess_group(
            name,
            shares[name],
            (hits[some], others[some], cluster[some]),
            means[:, names.index(name)],
            bound=-margin,
            level=level,
            tests=len(parts),
        )
        for name, some in parts.items()
    ]
    both = fmean(share for share, _ in shares.values()), fmean(share for _, share in shares.values())
    overall = _assess_group(
        OVERALL, both, (hits, others, cluster), means.mean(axis=1), bound=0.0, level=level, tests=1
    )
    good, worse = holm([one.p_good for one in found]), holm([one.p_worse for one in found])
    corrected = [
        replace(one, p_good=p_good, p_worse=p_worse)
        for one, p_good, p_worse in zip(found, good, worse, strict=True)
    ]
    return [replace(one, finding=_finding(one, level)) for one in (overall, *corrected)]


def _assess_group(
    name: str,
    shares: tuple[float, float],
    answers: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]],
    means: NDArray[np.float64],
    *,
    bound: float,
    level: float,
    tests: int,
) -> Assessed:
    """Questions that are counted together, before any correction; where nothing can be claimed, p is 1.

    Args:
        shares: of right answers of challenger and champion.
        answers: whether they are right, and the cluster, of each question.
        means: of the difference, [resamples]; empty where there are too few clusters at all.
        bound: at most zero; what a good challenger's difference is above.
        level: of a one-sided test.
        tests: how many are corrected for by Holm.
    """
    hits, others, cluster = answers
    clusters, differing, losing = (
        np.unique(some).size for some in (cluster, cluster[hits != others], cluster[hits < others])
    )
    low, high, p_good, p_worse, smallest = -1.0, 1.0, 1.0, 1.0, 1.0
    if len(means) and clusters >= MIN_CLUSTERS:
        low, high = np.quantile(means, [level, 1 - level])
        p_good, p_worse = _share(means <= bound + _ROUNDING), _share(means >= -_ROUNDING)
        if differing < MIN_CLUSTERS:
            # Resampling finds hardly any spread. But with a loss of m a share m of the clusters, if they are
            # of one size, has a part in it, at least; how many of n have is binomial, and few had.
            n, m = clusters, -bound
            few = sum(comb(n, k) * m**k * (1 - m) ** (n - k) for k in range(losing + 1))
            low, high, p_good, p_worse = min(low, 0.0), max(high, 0.0), min(max(p_good, few), 1.0), 1.0
        normal = NormalDist()
        errors = normal.inv_cdf(1 - level / tests) + normal.inv_cdf(POWER)
        smallest = max(errors * means.std(ddof=1), MIN_CLUSTERS / clusters)
    challenger, champion = shares
    return Assessed(
        name=name,
        questions=len(hits),
        challenger=six_decimals(challenger),
        champion=six_decimals(champion),
        difference=Estimate(*map(six_decimals, (challenger - champion, low, high))),
        p_good=p_good,
        p_worse=p_worse,
        smallest_difference=six_decimals(smallest),
    )


def _share(resamples: NDArray[np.bool_]) -> float:
    """Of those against a claim, with what was found as one more."""
    return float((1 + np.count_nonzero(resamples)) / (1 + len(resamples)))


def _finding(one: Assessed, level: float) -> Finding:
    return "good" if one.p_good <= level else "worse" if one.p_worse <= level else "unclear"
