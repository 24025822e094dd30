"""Questions about a scene, without words: what is asked, the right value, the values it is drawn from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from examples.picture_world.world.scene import (
    BACKGROUNDS,
    COLOURS,
    CORNERS,
    DIGITS,
    DIRECTIONS,
    EMOTIONS,
    LETTERS,
    NOUNS,
    NUMBERS,
    PATTERNS,
    SHAPES,
    SIZES,
    THINGS,
    Item,
    Scene,
)

OPTION_LETTERS = "ABCD"
RELATIONS = ("left", "right", "above", "below")
_RELATION = {"left": "left", "right": "right", "top": "above", "bottom": "below"}
_ASKED_OF_MARK = {"digit": "digit", "letter": "letter", "face": "emotion", "arrow": "direction"}

CATEGORIES = {
    "colour": COLOURS,
    "shape": SHAPES,
    "object": THINGS,
    "count": NUMBERS,
    "relation": RELATIONS,
    "position": CORNERS,
    "size": SIZES,
    "pattern": PATTERNS,
    "digit": DIGITS,
    "letter": LETTERS,
    "scene": BACKGROUNDS,
    "binding": NOUNS,
    "direction": DIRECTIONS,
    "emotion": EMOTIONS,
    "chart": COLOURS,
}
"""Every category and the values that its answers take."""

# How readily a conversation asks a question, by category: evens out that some fit every item and
# others only one. Found by counting; tests hold the result to a factor.
_READINESS = {
    "scene": 0.8, "binding": 1.7, "size": 1.4, "colour": 2.0, "pattern": 1.6, "object": 0.5, "position": 2.6,
    "shape": 3.0, "count": 100.0, "digit": 100.0, "letter": 100.0, "direction": 100.0, "emotion": 100.0,
    "relation": 100.0, "chart": 100.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the right value.

    Attributes:
        noun: what it is about (`thing` if only its colour is named).
        other: relation: what it is seen from.
        detail: object: the place asked about; binding: the colour; chart: `tallest` or `shortest`.
        candidates: the values that options are drawn from.
        wording: which of a language's wordings of its category asks it, from 0.
    """

    category: str
    answer: str
    candidates: tuple[str, ...]
    noun: str = ""
    other: str = ""
    detail: str = ""
    wording: int = 0

    @property
    def target(self) -> tuple[str, str] | None:
        """The (colour, noun) that one must see to answer a question of colour or binding."""
        if self.category == "colour":
            return self.answer, self.noun
        return (self.detail, self.answer) if self.category == "binding" else None


def questions(scene: Scene) -> Iterator[Question]:
    """Every question that the scene answers, each with exactly one right answer."""
    if scene.bars:
        colours = tuple(bar.colour for bar in scene.bars)
        for detail, choose in (("tallest", max), ("shortest", min)):
            bar = choose(scene.bars, key=lambda bar: bar.height)
            yield Question("chart", bar.colour, colours, "bar", detail=detail)
        return
    yield _ask("scene", scene.background)
    if scene.group:
        yield _ask("count", NUMBERS[len(scene.group) - 1], scene.group[0].noun)
    shapes = {item.noun for item in scene.items if item.noun in SHAPES}
    if len(shapes) == 1:
        yield _ask("shape", *shapes)
    if scene.kind == "pair":
        one, two = scene.items[:2]
        yield _ask("relation", _RELATION[one.place], one.noun, two.noun)
        yield _ask("relation", _RELATION[two.place], two.noun, one.noun)
    for item in scene.items:
        if scene.kind != "pair" and item.noun in THINGS:
            yield _ask("object", item.noun, detail=item.place)
        if item.value or len(scene.group) <= 1:
            yield from _about(scene, item)


def _about(scene: Scene, item: Item) -> Iterator[Question]:
    """Questions that name an item which is the only one of its noun and of its colour."""
    if item.value:
        yield _ask(_ASKED_OF_MARK[item.noun], item.value, item.noun)
        return
    yield _ask("colour", item.colour, item.noun)
    yield _ask("size", item.size, item.noun)
    yield _ask("pattern", item.pattern, item.noun)
    yield _ask("binding", item.noun, "thing", detail=item.colour)
    # On the edges, "left" would be true of more than one place.
    if scene.kind != "pair":
        yield _ask("position", item.place, item.noun)


def _ask(category: str, answer: str, noun: str = "", other: str = "", detail: str = "") -> Question:
    return Question(category, answer, CATEGORIES[category], noun, other, detail)


def draw_questions(rng: Random, scene: Scene, limit: int) -> list[Question]:
    """Up to `limit` different questions about the scene."""
    left = list(questions(scene))
    drawn: list[Question] = []
    while left and len(drawn) < limit:
        weights = [_READINESS[question.category] for question in left]
        position = rng.choices(range(len(left)), weights)[0]
        drawn.append(left.pop(position))
    rng.shuffle(drawn)
    return drawn


def draw_options(rng: Random, question: Question, answer_position: int, count: int = 4) -> list[str]:
    """`count` different values (fewer if there are no more), the right one at `answer_position`."""
    wrong: Sequence[str] = [value for value in question.candidates if value != question.answer]
    options = rng.sample(wrong, min(count - 1, len(wrong)))
    options.insert(answer_position % (len(options) + 1), question.answer)
    return options
