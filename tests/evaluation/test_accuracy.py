"""Accuracies by language, what a picture adds, and which wrong answers are shown."""

from dataclasses import replace
from pathlib import Path

import pytest
from flat_world import make_questions
from folders import write_evaluation

from parrot.evaluation.report.page import choose_wrong, worst_categories
from parrot.evaluation.samples import Answer, Sample, read_evaluation
from parrot.evaluation.scoring.accuracy import (
    accuracy,
    accuracy_estimates,
    category_accuracy,
    chance,
    gain_warnings,
    image_gain,
    l2_accuracy,
    pair_accuracy,
    rounded,
)
from parrot.evaluation.scoring.statistics import Estimate


def seen(language: str, hits: list[bool]) -> list[Sample]:
    """One sample for each of `hits`."""
    questions = make_questions(language)
    return [
        Sample(question, {"seeing": Answer(hit=hit)}) for question, hit in zip(questions, hits, strict=False)
    ]


def test_every_language_counts_the_same_however_many_questions_it_has() -> None:
    found = seen("en", [True] * 6) + seen("zh", [True, False, False])
    assert rounded(accuracy(found, "seeing")) == {"en": 1.0, "zh": 0.3333, "overall": 0.6667}


def test_categories_are_scored_apart() -> None:
    found = seen("en", [True] * 16 + [False] * 16)
    assert category_accuracy(found, "seeing") == {
        "colour": {"en": 1.0, "overall": 1.0},
        "binding": {"en": 0.0, "overall": 0.0},
    }


def test_broader_categories_and_opposite_questions() -> None:
    samples = [
        Sample(
            replace(
                question,
                options={"A": "yes", "B": "no"},
                answer="AB"[number % 2],
                cluster=str(number // 2),
                l2_category="logic" if number < 6 else "",
            ),
            {"seeing": Answer(hit=number >= 4 or number % 2 == 0)},
        )
        for number, question in enumerate(make_questions("en", 8))
    ]  # says yes twice, and then knows
    assert {name: rounded(found) for name, found in l2_accuracy(samples, "seeing").items()} == {
        "logic": {"en": 0.6667}
    }
    assert pair_accuracy(samples, "seeing") == {"en": 0.5}


def test_chance_follows_the_number_of_options_and_of_rotations() -> None:
    few = [replace(question, options={"A": "1", "B": "2"}) for question in make_questions("en", 4)]
    benchmark = {"en": few, "zh": make_questions("zh", 8)}
    assert chance(benchmark, circular=False) == pytest.approx((1 / 2 + 1 / 4) / 2)
    rotated = [replace(question, index=1 + 1_000_000 * turn) for turn, question in enumerate(few[:2])]
    assert chance({"en": rotated}, circular=True) == pytest.approx(1 / 4)


def answers(language: str, run: str, index: int) -> bool:
    """English is helped by the picture and Chinese is not; Chinese counts badly."""
    if language == "en":
        return index % 10 != 0 if run == "seeing" else index % 4 == 0
    return index % 8 in (0, 1, 2) if run == "seeing" else index % 8 in (1, 2, 3)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return read_evaluation(write_evaluation(tmp_path / "evaluation", answers)).samples


def test_estimates_are_by_language_and_for_their_mean(samples: list[Sample]) -> None:
    assert {name: share.value for name, share in accuracy_estimates(samples, "seeing").items()} == {
        "en": 0.9,
        "zh": 0.375,
        "overall": 0.6375,
    }
    assert all(
        share.low < share.value < share.high for share in accuracy_estimates(samples, "blind").values()
    )
    assert category_accuracy(samples, "seeing") == {
        "colour": {"en": 0.8, "zh": 0.5, "overall": 0.65},
        "count": {"en": 1.0, "zh": 0.25, "overall": 0.625},
    }


def test_a_model_that_does_not_see_is_warned_of(samples: list[Sample]) -> None:
    found = image_gain(samples)
    assert found["en"].value == pytest.approx(0.65) and found["en"].low > 0
    assert found["zh"].value == 0
    (warning,) = gain_warnings(found)
    assert warning.startswith("zh: the picture may not help: seeing minus blind is +0.0 points [−")


def test_a_warning_gives_points() -> None:
    told = gain_warnings({"en": Estimate(0.01, -0.008, 0.029), "zh": Estimate(0.5, 0.4, 0.6)})
    assert told == ["en: the picture may not help: seeing minus blind is +1.0 points [−0.8, +2.9]"]


def test_a_picture_that_harms_is_warned_of() -> None:
    assert len(gain_warnings({"en": Estimate(-0.3, -0.4, -0.2)})) == 1


def test_the_worst_categories_come_first_and_ties_stay_in_order() -> None:
    category = {name: {"overall": share} for name, share in (("a", 0.5), ("b", 0.2), ("c", 0.5), ("d", 0.9))}
    assert worst_categories(category, 3) == ["b", "a", "c"]


def test_wrong_answers_take_turns_among_languages_and_share_no_cluster(samples: list[Sample]) -> None:
    chosen = choose_wrong(samples, "colour", 5)
    assert [one.key for one in chosen] == [("en", 0), ("zh", 4), ("en", 10), ("zh", 6), ("en", 20)]
    assert not any(one.answers["seeing"].hit for one in chosen)
    assert choose_wrong(samples, "colour", 5) == chosen
    assert choose_wrong(samples, "no such category", 5) == []
