"""Short text-only tasks in English about the world's words, in Alpaca's form."""

from collections.abc import Iterable, Iterator
from random import Random

from examples.picture_world.world.languages import LANGUAGES
from examples.picture_world.world.scene import (
    COLOURS,
    DIGITS,
    HELD_BACK,
    NOUNS,
    NUMBERS,
    PATTERNS,
    SHAPES,
    SIZES,
    THINGS,
    Item,
)
from parrot.errors import ParrotError

_LANGUAGE_NAMES = {"zh": "Chinese", "pt": "Portuguese", "ar": "Arabic", "tr": "Turkish", "ru": "Russian"}
_OPPOSITES = (
    ("left", "right"), ("above", "below"), ("top", "bottom"), ("up", "down"), ("big", "small"),
    ("happy", "sad"), ("tallest", "shortest"), ("top left", "bottom right"), ("top right", "bottom left"),
)  # fmt: skip

Task = dict[str, str]


def draw_instructions(rng: Random, count: int) -> list[Task]:
    """`count` different tasks, of every kind about as many.

    Raises:
        ParrotError: the world has fewer different tasks than that.
    """
    drawn = (_translations(), _opposites(), _digits(), _words(), _lists(rng), _groups(rng))
    kinds = [_different(kind) for kind in drawn]
    for kind in kinds:
        rng.shuffle(kind)
    tasks: list[Task] = []
    while len(tasks) < count:
        kinds = [kind for kind in kinds if kind]
        if not kinds:
            raise ParrotError(
                f"world.text_instructions: there are only {len(tasks)} different tasks; ask for fewer"
            )
        tasks += [kind.pop() for kind in kinds]
    tasks = tasks[:count]
    rng.shuffle(tasks)
    return tasks


def _different(tasks: Iterable[Task]) -> list[Task]:
    return list({(task["instruction"], task["input"]): task for task in tasks}.values())


def _task(instruction: str, given: str, output: str) -> Task:
    return {"instruction": instruction, "input": given, "output": output}


def _translations() -> Iterator[Task]:
    english = LANGUAGES["en"]
    for code, language_name in _LANGUAGE_NAMES.items():
        instruction = f"Translate into {language_name}."
        for i, noun in enumerate(NOUNS):
            yield _task(instruction, english.name(noun), LANGUAGES[code].name(noun))
            for j, colour in enumerate(COLOURS):
                if (colour, noun) not in HELD_BACK:
                    size, pattern = SIZES[(i + j) % len(SIZES)], PATTERNS[(i + j) % len(PATTERNS)]
                    item = Item(noun, colour, "centre", size, pattern)
                    yield _task(instruction, english.describe(item), LANGUAGES[code].describe(item))


def _opposites() -> Iterator[Task]:
    for one, other in _OPPOSITES:
        for word, opposite in ((one, other), (other, one)):
            yield _task(f"What is the opposite of '{word}'?", "", opposite)


def _digits() -> Iterator[Task]:
    for one in DIGITS:
        for two in DIGITS:
            if one != two:
                smaller, larger = min(one, two), max(one, two)
                yield _task("Which digit is larger?", f"{one}, {two}", larger)
                yield _task("Which digit comes first when you count?", f"{one}, {two}", smaller)


def _words() -> Iterator[Task]:
    for noun in NOUNS:
        yield _task("Is this a shape or a thing?", noun, "a shape" if noun in SHAPES else "a thing")
        yield _task("Which letter does this word start with?", noun, noun[0].upper())
        yield _task("Write the plural.", noun, LANGUAGES["en"].forms(noun)["nouns"])


def _lists(rng: Random) -> Iterator[Task]:
    for length in range(1, len(NUMBERS) + 1):
        for _ in range(20):
            yield _task(
                "How many words are in this list?", ", ".join(rng.sample(NOUNS, length)), NUMBERS[length - 1]
            )


def _groups(rng: Random) -> Iterator[Task]:
    for group, others in ((COLOURS, THINGS), (SHAPES, THINGS), (THINGS, COLOURS)):
        name = {COLOURS: "colour", SHAPES: "shape", THINGS: "thing"}[group]
        for answer in group:
            for _ in range(4):
                words = [*rng.sample(others, 3), answer]
                rng.shuffle(words)
                yield _task(f"Which word in this list names a {name}?", ", ".join(words), answer)
