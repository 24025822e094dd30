"""Better overall, in no language worse by a margin: against intervals, by hand, and at the edges."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parrot.evaluation.comparison.noninferiority import Assessed, assess
from parrot.evaluation.scoring.statistics import MIN_CLUSTERS, difference_interval

QUESTIONS = 100
LANGUAGES = np.repeat(["tr", "en"], QUESTIONS)
CLUSTERS = np.tile([f"picture {number // 2}" for number in range(QUESTIONS)], 2)


def drawn(share: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(2 * QUESTIONS) < share


def weighed(challenger: np.ndarray, champion: np.ndarray, margin: float = 0.1) -> list[Assessed]:
    return assess(challenger, champion, LANGUAGES, CLUSTERS, margin=margin, alpha=0.05)


def test_the_intervals_are_those_of_compare() -> None:
    challenger, champion = drawn(0.7, 1), drawn(0.6, 2)
    overall, turkish, english = weighed(challenger, champion)
    assert [overall.name, turkish.name, english.name] == ["overall", "tr", "en"]
    for one, some in ((overall, slice(None)), (turkish, slice(0, 100)), (english, slice(100, 200))):
        columns = LANGUAGES[some].tolist(), CLUSTERS[some].tolist()
        expected = difference_interval(challenger[some].tolist(), champion[some].tolist(), *columns)
        assert one.difference == pytest.approx(expected, abs=1.1e-6)
        assert one.challenger == pytest.approx(challenger[some].mean())


def test_languages_are_corrected_for_their_number_and_overall_is_not() -> None:
    challenger, champion = drawn(0.5, 1), drawn(0.6, 2)
    overall, *languages = weighed(challenger, champion)
    alone = [
        assess(challenger[some], champion[some], LANGUAGES[some], CLUSTERS[some], margin=0.1, alpha=0.05)[1]
        for some in (slice(0, 100), slice(100, 200))
    ]
    order = np.argsort([one.p_worse for one in alone])
    assert languages[order[0]].p_worse == pytest.approx(2 * alone[order[0]].p_worse)
    assert languages[order[1]].p_worse == pytest.approx(
        max(alone[order[1]].p_worse, languages[order[0]].p_worse)
    )
    assert overall.p_good + overall.p_worse == pytest.approx(1.0, abs=0.1)


def test_a_loss_within_the_margin_passes_though_it_is_shown() -> None:
    champion = np.ones(2 * QUESTIONS, dtype=bool)
    challenger = champion.copy()
    challenger[:16:2] = False  # eight pictures of Turkish
    overall, turkish, english = weighed(challenger, champion, margin=0.2)
    assert turkish.difference.high < 0 and turkish.p_worse < 0.025
    assert turkish.finding == english.finding == "good"
    assert overall.finding == "worse"
    assert weighed(challenger, champion, margin=0.08)[1].finding == "worse"


def test_equal_answers_to_a_few_questions_rule_out_no_small_loss() -> None:
    answers = drawn(0.7, 1)
    _, turkish, english = weighed(answers, answers, margin=0.02)
    assert turkish.difference == (0, 0, 0)
    assert turkish.p_good == english.p_good == pytest.approx(2 * 0.98**50)  # 50 pictures; of two, Holm's
    assert turkish.finding == "unclear"
    assert weighed(answers, answers, margin=0.1)[1].finding == "good"


def test_of_a_handful_of_pictures_nothing_is_claimed() -> None:
    clusters = [str(number % (MIN_CLUSTERS - 1)) for number in range(2 * QUESTIONS)]
    nothing, everything = np.zeros(2 * QUESTIONS), np.ones(2 * QUESTIONS)
    for one in assess(nothing, everything, LANGUAGES, clusters, margin=0.1, alpha=0.05):
        assert one.finding == "unclear"
        assert one.difference == (-1, -1, 1)
        assert one.smallest_difference == 1


def test_a_language_of_few_pictures_claims_nothing_beside_one_of_many() -> None:
    clusters = CLUSTERS.copy()
    clusters[:QUESTIONS] = "one picture"
    champion = np.concatenate([np.zeros(100), drawn(0.5, 3)[:100]])
    _, turkish, english = assess(np.ones(200), champion, LANGUAGES, clusters, margin=0.1, alpha=0.05)
    assert turkish.finding == "unclear" and english.finding == "good"


def test_smallest_differences_shrink_with_the_root_of_the_questions() -> None:
    def smallest(pictures: int) -> list[float]:
        draw = np.random.default_rng(4)
        hits = draw.random((2, 2 * pictures)) < 0.6
        found = assess(
            *hits, np.repeat(["a", "b"], pictures), np.tile(np.arange(pictures), 2), margin=0.1, alpha=0.05
        )
        return [one.smallest_difference for one in found]  # fmt: skip

    few, many = smallest(125), smallest(2000)
    assert np.array(few) / np.array(many) == pytest.approx(4.0, rel=0.2)
    # Two answers differ with a chance of 0.48; (1.96 + 0.84) or with Holm's (2.24 + 0.84) standard errors.
    assert many[0] == pytest.approx(2.80 * np.sqrt(0.48 / 4000), rel=0.1)
    assert many[1] == pytest.approx(3.08 * np.sqrt(0.48 / 2000), rel=0.1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 0.9), st.floats(-0.3, 0.3), st.sampled_from([0.0, 0.03, 0.2]))
def test_what_is_found_agrees_with_the_interval(seed: int, share: float, gain: float, margin: float) -> None:
    challenger, champion = drawn(share + gain, seed), drawn(share, seed + 1)
    overall, *languages = weighed(challenger, champion, margin)
    if overall.finding != "unclear":
        assert overall.difference.low > 0 if overall.finding == "good" else overall.difference.high < 0
    for one in languages:
        if one.finding == "good":
            assert one.difference.low > -margin
        elif one.finding == "worse":
            assert one.difference.high < 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 0.8))
def test_a_swap_turns_better_into_worse_and_order_does_not_matter(seed: int, share: float) -> None:
    challenger, champion = drawn(share, seed), drawn(0.5, seed + 1)
    assume((challenger != champion).sum() > 2 * MIN_CLUSTERS)
    forth, back = weighed(challenger, champion)[0], weighed(champion, challenger)[0]
    assert (forth.p_good, forth.p_worse) == (back.p_worse, back.p_good)
    order = np.random.default_rng(seed).permutation(2 * QUESTIONS)
    mixed = assess(
        challenger[order], champion[order], LANGUAGES[order], CLUSTERS[order], margin=0.1, alpha=0.05
    )
    assert {one.name: one for one in mixed} == {one.name: one for one in weighed(challenger, champion)}
