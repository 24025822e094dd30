import math

import numpy as np
import pytest

from parrot.evaluation.scoring.statistics import (
    MIN_CLUSTERS,
    accuracy_interval,
    difference_interval,
    holm,
    mcnemar,
)

Z = 1.959964  # of a normal distribution, two-sided, 95 %


def simulated(
    draw: np.random.Generator, clusters: int = 60, spread: float = 2.0
) -> tuple[list[bool], list[str], list[str]]:
    """Hits, languages and clusters: clusters of 1 to 5 questions that are hard or easy together, mean 0.5."""
    sizes = draw.integers(1, 6, size=clusters)
    cluster = np.repeat(np.arange(clusters), sizes)
    chance = draw.beta(1 / spread, 1 / spread, size=clusters)[cluster]
    hits = draw.random(len(cluster)) < chance
    return hits.tolist(), ["en"] * len(cluster), [str(name) for name in cluster]


def test_the_interval_of_independent_questions_is_the_normal_one() -> None:
    hits = [number % 10 < 7 for number in range(1000)]
    estimate = accuracy_interval(hits, ["en"] * 1000, [str(number) for number in range(1000)])
    half = Z * math.sqrt(0.7 * 0.3 / 1000)
    assert estimate.value == 0.7
    assert estimate.low == pytest.approx(0.7 - half, abs=0.003)
    assert estimate.high == pytest.approx(0.7 + half, abs=0.003)


def test_intervals_cover_the_truth_about_19_times_in_20() -> None:
    draw = np.random.default_rng(5)
    intervals = [accuracy_interval(*simulated(draw)) for _ in range(200)]
    covered = sum(interval.low <= 0.5 <= interval.high for interval in intervals)
    assert 0.90 * 200 <= covered <= 0.98 * 200


def test_intervals_of_single_questions_cover_too_little_where_clusters_are_correlated() -> None:
    draw = np.random.default_rng(5)
    covered = 0
    for _ in range(100):
        hits, languages, _ = simulated(draw)
        interval = accuracy_interval(hits, languages, [str(number) for number in range(len(hits))])
        covered += interval.low <= 0.5 <= interval.high
    assert covered < 0.90 * 100


def test_intervals_of_differences_cover_the_truth_about_19_times_in_20() -> None:
    draw = np.random.default_rng(6)
    covered = 0
    for _ in range(200):
        first, languages, clusters = simulated(draw)
        second = [hit and draw.random() < 0.8 for hit in first]  # the truth: 0.5 - 0.4
        interval = difference_interval(first, second, languages, clusters)
        covered += interval.low <= 0.1 <= interval.high
    assert 0.90 * 200 <= covered <= 0.98 * 200


def test_one_question_in_several_languages_is_one_cluster() -> None:
    draw = np.random.default_rng(7)
    hits, _, clusters = simulated(draw, 100)
    alone = accuracy_interval(hits, ["en"] * len(hits), clusters)
    languages = ["en"] * len(hits) + ["zh"] * len(hits)
    joint = accuracy_interval(hits * 2, languages, clusters * 2)
    assert joint == alone  # a copy of the answers tells nothing new
    apart = accuracy_interval(hits * 2, languages, clusters + [f"zh {name}" for name in clusters])
    assert apart.high - apart.low < 0.85 * (alone.high - alone.low)


def test_every_language_counts_the_same() -> None:
    hits = [True] * 30 + [False] * 10
    estimate = accuracy_interval(hits, ["en"] * 30 + ["zh"] * 10, [str(number % 10) for number in range(40)])
    assert estimate.value == 0.5


def test_resampling_is_the_same_each_time_and_follows_the_seed() -> None:
    sample = simulated(np.random.default_rng(8))
    assert accuracy_interval(*sample) == accuracy_interval(*sample)
    assert accuracy_interval(*sample, seed=1) != accuracy_interval(*sample, seed=2)


def test_equal_answers_differ_by_exactly_nothing() -> None:
    hits, languages, clusters = simulated(np.random.default_rng(9))
    assert difference_interval(hits, hits, languages, clusters) == (0.0, 0.0, 0.0)


def test_a_paired_difference_is_surer_than_its_parts() -> None:
    draw = np.random.default_rng(10)
    first, languages, clusters = simulated(draw, 300)
    second = [hit and draw.random() < 0.95 for hit in first]
    a, b = (accuracy_interval(hits, languages, clusters) for hits in (first, second))
    difference = difference_interval(first, second, languages, clusters)
    assert difference.value == pytest.approx(a.value - b.value, abs=2e-6)
    assert difference.excludes_zero
    assert a.low < b.high


def test_all_right_is_not_certainty() -> None:
    clusters = [str(number // 2) for number in range(40)]
    perfect = accuracy_interval([True] * 40, ["en"] * 40, clusters)
    assert perfect == (1.0, pytest.approx(0.8316, abs=1e-4), 1.0)  # Clopper and Pearson for 20 of 20
    hopeless = accuracy_interval([False] * 40, ["en"] * 40, clusters)
    assert hopeless == (0.0, 0.0, pytest.approx(0.1684, abs=1e-4))


def test_a_handful_of_clusters_proves_nothing() -> None:
    count = MIN_CLUSTERS - 1
    names = [str(number) for number in range(count)]
    estimate = difference_interval([True] * count, [False] * count, ["en"] * count, names)
    assert estimate == (1.0, -1.0, 1.0)
    assert not estimate.excludes_zero


@pytest.mark.parametrize("differing", [MIN_CLUSTERS - 1, MIN_CLUSTERS])
def test_a_difference_that_a_handful_of_clusters_shows_may_be_none(differing: int) -> None:
    names = [str(number) for number in range(40)]
    first = [number < differing for number in range(40)]
    estimate = difference_interval(first, [False] * 40, ["en"] * 40, names)
    assert estimate.excludes_zero == (differing >= MIN_CLUSTERS)
    assert estimate.high < 0.4


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        (5, 0, 2 / 32),
        (0, 6, 2 / 64),
        (1, 9, 2 * (1 + 10) / 1024),
        (8, 2, 2 * (1 + 10 + 45) / 1024),
    ],
)
def test_mcnemar_by_hand(only_first: int, only_second: int, expected: float) -> None:
    assert mcnemar(only_first, only_second) == expected
    assert mcnemar(only_second, only_first) == expected


def test_mcnemar_of_thousands_of_questions_is_the_normal_approximation() -> None:
    z = (abs(6200 - 5800) - 1) / math.sqrt(12000)
    assert mcnemar(6200, 5800) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-2)
    assert mcnemar(12000, 0) == 0.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
