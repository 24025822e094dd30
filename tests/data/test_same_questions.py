"""Questions are found by a few of their windows as by all."""

import random

import numpy as np
import pytest

from parrot.data.same_questions import SameQuestions
from parrot.data.text_windows import WINDOW

WORDS = [bytes(random.Random(number).choices(b"abcdefghij", k=2 + number % 6)) for number in range(60)]


def windows(text: bytes) -> set[bytes]:
    return {text[begin : begin + WINDOW] for begin in range(len(text) - WINDOW + 1)}


def nearest(text: bytes, questions: list[bytes], share: float) -> tuple[int, float] | None:
    shares = [len(windows(text) & windows(one)) / len(windows(one)) for one in questions]
    best = int(np.argmax(shares))
    return (best, shares[best]) if shares[best] >= share else None


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7, 0.85, 1.0])
def test_what_is_found_is_what_comparing_all_finds(share: float) -> None:
    draw = random.Random(share)
    common = draw.choices(WORDS, k=8)
    asked = [[*common, *draw.choices(WORDS, k=draw.randrange(2, 30))] for _ in range(20)]
    questions = [b"".join(words) for words in asked] + [b"abcdefghijk"]
    texts = [b"", b"abc", *questions]
    for _ in range(300):
        words = list(draw.choice(asked))
        for _ in range(draw.randrange(12)):
            place = draw.randrange(len(words))
            words[place : place + draw.randrange(2)] = draw.choices(WORDS, k=draw.randrange(3))
        texts.append(b"".join([*draw.choices(WORDS, k=draw.choice((0, 40))), *words]))
    expected = {place: near for place, text in enumerate(texts) if (near := nearest(text, questions, share))}
    assert SameQuestions(questions, share).find(texts) == expected
    assert 22 <= len(expected) < len(texts)
