from dataclasses import replace

import pytest
from flat_world import make_questions

from parrot.evaluation.inference.predictions import Answer, Prediction, judge
from parrot.evaluation.report.accuracy import (
    accuracy,
    category_accuracy,
    chance,
    expert_weights,
    l2_accuracy,
    pair_accuracy,
)


def predictions(language: str, hits: list[bool], options: int = 4) -> list[Prediction]:
    """One prediction for each of `hits`; weights of two experts."""
    made = []
    for number, (question, hit) in enumerate(zip(make_questions(language), hits, strict=False)):
        letters = [question.answer, *(letter for letter in "ABCD" if letter != question.answer)][:options]
        question.options.clear()
        question.options.update({letter: letter for letter in letters})
        choice = Answer(letters[0] if hit else letters[1], dict.fromkeys(letters, 0.0))
        made.append(judge(question, language, {"seeing": choice}, [number / 10, 1 - number / 10]))
    return made


def test_every_language_counts_the_same_however_many_questions_it_has() -> None:
    found = predictions("en", [True] * 6) + predictions("zh", [True, False, False])
    assert accuracy(found, ["en", "zh"], "seeing") == {"en": 1.0, "zh": 0.3333, "overall": 0.6667}


def test_categories_are_scored_apart() -> None:
    found = predictions("en", [True] * 16 + [False] * 16)
    assert category_accuracy(found, ["en"], "seeing") == {
        "colour": {"en": 1.0, "overall": 1.0},
        "binding": {"en": 0.0, "overall": 0.0},
    }


def test_broader_categories_and_opposite_questions() -> None:
    asked = make_questions("en", 8)
    options = {"A": "yes", "B": "no"}
    found = [
        judge(
            replace(
                question,
                options=options,
                answer="AB"[number % 2],
                picture=number // 2,
                l2_category="logic" if number < 6 else "",
            ),
            "en",
            {"seeing": Answer("A" if number < 4 else "AB"[number % 2], {})},
            None,
        )
        for number, question in enumerate(asked)
    ]  # says yes twice, and then knows
    assert l2_accuracy(found, "seeing") == {"logic": {"en": 0.6667}}
    assert pair_accuracy(found, "seeing") == {"en": 0.5}


def test_chance_follows_the_number_of_options() -> None:
    found = predictions("en", [True] * 4, options=2) + predictions("zh", [True] * 8, options=4)
    assert chance(found, ["en", "zh"]) == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_expert_weights_are_means_over_the_questions_of_a_language() -> None:
    found = predictions("en", [True] * 3) + predictions("zh", [True])
    assert expert_weights(found, ["en", "zh"]) == {"en": [0.1, 0.9], "zh": [0.0, 1.0]}
