"""The work cut into chunks: questions about the same pictures belong together.

A chunk is answered by one process at a stretch, so that a picture is decoded and encoded once, in however
many languages, rotations and runs it is asked about.
"""

import random
from collections.abc import Iterable, Sequence

from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion

BATCHES = 4
"""Batches in a chunk, about: enough to sort the questions by length, few enough to lose little."""

Chunk = list[MultipleChoiceQuestion]
"""Questions of one picture after the other."""


def cut(questions: Iterable[MultipleChoiceQuestion], batch_size: int) -> list[Chunk]:
    """All questions in chunks of about `BATCHES` batches; more where one picture has more questions."""
    by_picture: dict[bytes, Chunk] = {}
    for question in questions:
        by_picture.setdefault(question.image, []).append(question)
    chunks: list[Chunk] = []
    waiting: Chunk = []
    for about_one in by_picture.values():
        waiting += about_one
        if len(waiting) >= BATCHES * batch_size:
            chunks.append(waiting)
            waiting = []
    return [*chunks, waiting] if waiting else chunks


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
