"""The work cut into shares: questions about the same pictures belong together.

A share is answered by one process at a stretch, so that a picture is decoded and encoded once, in
however many languages, rotations and runs it is asked about. Shares depend on the questions and the
batch size alone, not on how many processes there are or how often they were killed.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import Question

BATCHES = 4
"""Batches in a share, about: enough to sort the questions by length, few enough to lose little."""


@dataclass(frozen=True)
class Asked:
    """A question in a language, and its place in the file."""

    language: str
    place: int
    question: Question


@dataclass(frozen=True)
class Share:
    """Questions of one picture after the other."""

    number: int
    asked: list[Asked]


def cut(benchmark: Mapping[str, Sequence[Question]], batch_size: int) -> list[Share]:
    """All questions in shares of about `BATCHES` batches; more where one picture has more questions."""
    by_picture: dict[bytes, list[Asked]] = {}
    for language, questions in benchmark.items():
        for place, question in enumerate(questions):
            by_picture.setdefault(question.image, []).append(Asked(language, place, question))
    shares: list[Share] = []
    waiting: list[Asked] = []
    for asked in by_picture.values():
        waiting += asked
        if len(waiting) >= BATCHES * batch_size:
            shares.append(Share(len(shares), waiting))
            waiting = []
    return [*shares, Share(len(shares), waiting)] if waiting else shares


def swap(images: Sequence[bytes], seed: int) -> dict[bytes, bytes]:
    """Another picture for each picture: a random cycle through all different ones (Sattolo).

    Raises:
        ParrotError: there is only one picture.
    """
    originals = list(dict.fromkeys(images))
    if len(originals) < 2:
        raise ParrotError("evaluate.blind: 'swapped' needs at least two different pictures; use 'removed'")
    others = originals.copy()
    draw = random.Random(f"swapped/{seed}")
    for last in range(len(others) - 1, 0, -1):
        other = draw.randrange(last)
        others[last], others[other] = others[other], others[last]
    return dict(zip(originals, others, strict=True))
