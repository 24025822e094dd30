"""Whole replies, in which models explain, reject, correct themselves and think aloud, in six languages."""

import csv
import time
from pathlib import Path

import pytest
from replies import BY_LANGUAGE

from parrot.evaluation.extraction.extract import extract_answer

HANGS_ON_TEXTS = ["The animal is not a cat (A), a horse (C) or a cow (D), so it is a dog (B)."]
REPORTED = Path(__file__).parents[2] / "../shared/reference/reported/22_answers_that_reject_others"


@pytest.mark.parametrize(
    ("language", "reply", "letter"),
    [
        pytest.param(language, reply, letter, id=f"{language}-{number}")
        for language, (_, replies) in BY_LANGUAGE.items()
        for number, (reply, letter) in enumerate(replies.items())
    ],
)
def test_a_reply_is_read_as_what_it_decides_for(language: str, reply: str, letter: str | None) -> None:
    assert extract_answer(reply, BY_LANGUAGE[language][0]) == letter, reply


@pytest.mark.parametrize(
    ("language", "reply"),
    [
        pytest.param(language, reply, id=f"{language}-{number}")
        for language, (_, replies) in BY_LANGUAGE.items()
        for number, (reply, letter) in enumerate(replies.items())
        if letter and reply not in HANGS_ON_TEXTS
    ],
)
def test_what_is_decided_does_not_hang_on_the_options_texts(language: str, reply: str) -> None:
    """Options of which the reply names none by text."""
    options = {"A": "1,024", "B": "2,048", "C": "4,096", "D": "8,192"}
    assert extract_answer(reply, options) == BY_LANGUAGE[language][1][reply], reply


@pytest.mark.skipif(not REPORTED.is_dir(), reason="the reported inputs are not beside this checkout")
def test_the_reported_answers_all_say_b() -> None:
    with (REPORTED / "pred/mmmb_en.tsv").open(encoding="utf-8", newline="") as file:
        answers = [row["prediction"] for row in csv.DictReader(file, delimiter="\t")]
    options = {"A": "cat", "B": "dog", "C": "horse", "D": "cow"}
    assert len(answers) == 5
    assert [extract_answer(answer, options) for answer in answers] == ["B"] * 5


@pytest.mark.parametrize(
    "piece",
    ["<think>", "</think>", "<answer>", "\\boxed{", "A is wrong. ", "not ", "B, ", "A or ", "wait ",
     "A) No.\n", "The answer is B. ", "is the answer ", "A?", "<", "不是A", "A değil ", "答案", "A ", "dog "],
)  # fmt: skip
def test_a_reply_that_goes_on_for_ever_is_read_in_linear_time(piece: str) -> None:
    options = {"A": "cat", "B": "dog", "C": "horse", "D": "cow"}

    began = time.process_time()
    extract_answer(piece * (20_000 // len(piece)), options)
    assert time.process_time() - began < 5
