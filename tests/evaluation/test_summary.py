from pathlib import Path

import pytest
from folders import write_evaluation

from parrot.evaluation.report.records import Answered, read_evaluation
from parrot.evaluation.report.statistics import Estimate
from parrot.evaluation.report.summary import choose_wrong, eye_warnings, eyes, summarise, worst_categories


def answers(language: str, run: str, index: int) -> bool:
    """English is helped by the picture and Chinese is not; Chinese counts badly."""
    if language == "en":
        return index % 10 != 0 if run == "seeing" else index % 4 == 0
    return index % 8 in (0, 1, 2) if run == "seeing" else index % 8 in (1, 2, 3)


@pytest.fixture
def answered(tmp_path: Path) -> list[Answered]:
    return read_evaluation(write_evaluation(tmp_path / "evaluation", answers)).answered


def test_accuracies_are_by_language_and_their_mean(answered: list[Answered]) -> None:
    table = summarise(answered, ["seeing", "blind"])
    assert {name: share.value for name, share in table.accuracy["seeing"].items()} == {
        "en": 0.9,
        "zh": 0.375,
        "overall": 0.6375,
    }
    assert all(share.low < share.value < share.high for share in table.accuracy["blind"].values())
    assert table.category == {
        "colour": {"en": 0.8, "zh": 0.5, "overall": 0.65},
        "count": {"en": 1.0, "zh": 0.25, "overall": 0.625},
    }


def test_without_a_blind_run_nothing_is_said_about_it(answered: list[Answered]) -> None:
    assert summarise(answered, ["seeing"]).eyes == {}


def test_a_model_that_does_not_see_is_warned_of(answered: list[Answered]) -> None:
    found = eyes(answered)
    assert found["en"].value == pytest.approx(0.65) and found["en"].low > 0
    assert found["zh"].value == 0
    (warning,) = eye_warnings(found)
    assert warning.startswith("zh: the picture may not help: seeing minus blind is +0.0 points [−")


def test_a_warning_gives_points() -> None:
    told = eye_warnings({"en": Estimate(0.01, -0.008, 0.029), "zh": Estimate(0.5, 0.4, 0.6)})
    assert told == ["en: the picture may not help: seeing minus blind is +1.0 points [−0.8, +2.9]"]


def test_a_picture_that_harms_is_warned_of() -> None:
    assert len(eye_warnings({"en": Estimate(-0.3, -0.4, -0.2)})) == 1


def test_the_worst_categories_come_first_and_ties_stay_in_order() -> None:
    category = {name: {"overall": share} for name, share in (("a", 0.5), ("b", 0.2), ("c", 0.5), ("d", 0.9))}
    assert worst_categories(category, 3) == ["b", "a", "c"]


def test_wrong_answers_take_turns_among_languages_and_share_no_cluster(answered: list[Answered]) -> None:
    chosen = choose_wrong(answered, "colour", 5)
    assert [(one.language, one.index) for one in chosen] == [
        ("en", 0),
        ("zh", 4),
        ("en", 10),
        ("zh", 6),
        ("en", 20),
    ]
    assert not any(one.replies["seeing"].hit for one in chosen)
    assert choose_wrong(answered, "colour", 5) == chosen
    assert choose_wrong(answered, "no such category", 5) == []
