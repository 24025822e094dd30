from dataclasses import replace

import pytest
from flat_world import make_questions

from parrot.errors import ParrotError
from parrot.evaluation.inference.prompts import protocols
from parrot.params import load_params

LETTERS, TEXTS = protocols()["letter_likelihood"], protocols()["option_likelihood"]
QUESTION = replace(
    make_questions("en")[0],
    question="How many {things}?",
    hint="Count.",
    options={"A": "two", "B": "three"},
)


def test_the_letter_prompt_is_the_papers() -> None:
    assert LETTERS.ask(QUESTION, picture=True) == (
        "<image>\nCount.\nHow many {things}?\nA. two\nB. three\n"
        "Answer with the option's letter from the given choices directly."
    )
    russian = LETTERS.ask(replace(QUESTION, language="ru"), picture=True)
    assert russian.endswith("\nОтветьте буквой варианта из предложенных вариантов напрямую.")
    assert LETTERS.answers(QUESTION) == {"A": "A", "B": "B"}


def test_the_option_prompt_does_not_tell_the_options() -> None:
    assert TEXTS.ask(QUESTION, picture=True) == "<image>\nCount.\nHow many {things}?"
    assert TEXTS.answers(QUESTION) == {"A": "two", "B": "three"}


def test_without_picture_and_hint_only_the_question_is_left() -> None:
    assert TEXTS.ask(replace(QUESTION, hint=""), picture=False) == "How many {things}?"


def test_every_language_of_the_demo_has_a_closing_line() -> None:
    lines = [
        LETTERS.ask(replace(QUESTION, language=language), picture=True)
        for language in load_params().languages
    ]
    assert len(set(lines)) == len(lines)


def test_a_language_without_closing_line_is_refused() -> None:
    with pytest.raises(ParrotError, match=r"prompts\.yaml: letter_likelihood\.closing has no line for 'fi'"):
        LETTERS.ask(replace(QUESTION, language="fi"), picture=True)
