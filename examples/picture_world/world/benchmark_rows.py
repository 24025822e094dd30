"""The benchmark in MMMB's form: one TSV per language, the same pictures and questions in each."""

import base64
import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TypeVar

from examples.picture_world.world.drawing import draw_picture, encode
from examples.picture_world.world.languages import BENCHMARK_WORDINGS
from examples.picture_world.world.questions import (
    CATEGORIES,
    OPTION_LETTERS,
    Question,
    draw_options,
    questions,
)
from examples.picture_world.world.scene import HELD_BACK, KINDS, Scene, draw_scene
from examples.picture_world.world.sentences import ask, option_text

HEADER = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "split", "image")
FILE_CODES = {"zh": "cn"}
"""The published files name Chinese `cn`."""

_KINDS_FOR = {"count": ("group",), "relation": ("pair",), "chart": ("chart",)}
_OTHERWISE = ("corners", "group")
_AXES = (("left", "right"), ("above", "below"))

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One question with its options in order. `image` is a JPEG or the index of the row that holds it."""

    index: int
    question: Question
    options: tuple[str, ...]
    image: bytes | int

    @property
    def answer(self) -> str:
        """The letter of the right option."""
        return OPTION_LETTERS[self.options.index(self.question.answer)]


def draw_rows(seed: int, split: str, per_category: int, taken: set[bytes]) -> list[Row]:
    """The rows of a split: `per_category` for every category, answers and letters evenly spread.

    `taken` holds the SHA-256 of pictures that must not occur again; those drawn here are added.
    """
    rows: list[Row] = []
    for category in CATEGORIES:
        rng = Random(f"{seed} {split} {category}")
        answers = _answers(rng, category, per_category)
        positions = _evenly(rng, range(len(OPTION_LETTERS)), per_category)
        held_back = _evenly(rng, [True] * 3 + [False] * 7, per_category)
        scene, image = None, b""
        for number, (answer, position) in enumerate(zip(answers, positions, strict=True)):
            index = len(rows)
            # Both ways round, a relation is asked of one picture: the second row points to the first's.
            if category == "relation" and number % 2 and scene is not None:
                question = next(
                    q for q in questions(scene) if q.category == category and q != rows[-1].question
                )
                rows.append(Row(index, question, _options(rng, question, position), index - 1))
                continue
            wanted = held_back[number] if category in ("colour", "binding") else None
            scene, question, image = _fresh(rng, category, answer, wanted, taken)
            rows.append(Row(index, question, _options(rng, question, position), image))
    return rows


def write_tsv(path: Path, language: str, split: str, rows: Sequence[Row]) -> None:
    """Write the rows in one language."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
        writer.writerow(HEADER)
        for row in rows:
            texts = [option_text(language, row.question, value) for value in row.options]
            texts += [""] * (len(OPTION_LETTERS) - len(texts))
            image = base64.b64encode(row.image).decode() if isinstance(row.image, bytes) else row.image
            asked = ask(language, replace(row.question, wording=BENCHMARK_WORDINGS[split]))
            writer.writerow(
                [row.index, asked.text, "", *texts, row.answer, row.question.category, split, image]
            )


def _answers(rng: Random, category: str, count: int) -> list[str]:
    if category != "relation":
        return _evenly(rng, CATEGORIES[category], count)
    # Two rows share a picture and have opposite answers.
    axes = _evenly(rng, _AXES, -(-count // 2))
    return [answer for axis in axes for answer in rng.sample(axis, 2)][:count]


def _evenly(rng: Random, values: Sequence[T], count: int) -> list[T]:
    """`count` values, each as often as the others (or once more), in random order."""
    rounds = -(-count // len(values))
    drawn = [value for _ in range(rounds) for value in rng.sample(values, len(values))][:count]
    rng.shuffle(drawn)
    return drawn


def _fresh(
    rng: Random, category: str, answer: str, held_back: bool | None, taken: set[bytes]
) -> tuple[Scene, Question, bytes]:
    """A scene with such a question, whose picture is not taken yet."""
    kinds = _KINDS_FOR.get(category, _OTHERWISE)
    while True:
        kind = rng.choices(kinds, [KINDS[kind] for kind in kinds])[0]
        scene = draw_scene(rng, kind=kind, held_back=True)
        fitting = [
            question
            for question in questions(scene)
            if question.category == category
            and question.answer == answer
            and (held_back is None or (question.target in HELD_BACK) == held_back)
        ]
        if not fitting:
            continue
        image = encode(draw_picture(scene))
        digest = hashlib.sha256(image).digest()
        if digest not in taken:
            taken.add(digest)
            return scene, rng.choice(fitting), image


def _options(rng: Random, question: Question, position: int) -> tuple[str, ...]:
    return tuple(draw_options(rng, question, position))
