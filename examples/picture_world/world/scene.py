"""What a picture shows: items on fixed places before a background, or a bar chart.

Everything is drawn by a `random.Random`, so a scene is a function of its seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

THINGS = ("fish", "tree", "house", "cup", "key", "car", "boat", "flower")
SHAPES = ("circle", "square", "triangle", "star", "heart")
NOUNS = THINGS + SHAPES
COLOURS = ("red", "blue", "green", "yellow", "orange", "purple", "pink", "black")
SIZES = ("big", "small")
PATTERNS = ("plain", "striped", "dotted", "checked")
BACKGROUNDS = ("night", "beach", "snow", "meadow", "desert", "sea")
NUMBERS = ("one", "two", "three", "four", "five")

# Places in one of these two layouts never share a 16-pixel patch, so that each patch is about one item.
CORNERS = ("top left", "top right", "bottom left", "bottom right", "centre")
EDGES = ("left", "right", "top", "bottom", "centre")
OPPOSITE_EDGES = (("left", "right"), ("right", "left"), ("top", "bottom"), ("bottom", "top"))

DIGITS = tuple("234579")
# Without A to D, which name the options of a question, and without those that look like a digit.
LETTERS = tuple("EHKLTX")
EMOTIONS = ("happy", "sad", "angry", "surprised")
DIRECTIONS = ("up", "down", "left", "right")
MARKS = {"digit": DIGITS, "letter": LETTERS, "face": EMOTIONS, "arrow": DIRECTIONS}
"""Items that are not things but say something; each occurs at most once in a picture."""

HELD_BACK = frozenset((COLOURS[3 * i % len(COLOURS)], noun) for i, noun in enumerate(NOUNS))
"""(colour, noun) pairs that no training picture shows: one per noun, two or three per colour."""

KINDS = {"corners": 48, "pair": 16, "group": 28, "chart": 14}
"""Kinds of scene and their weights, so that conversations ask about all categories about evenly."""

_TWO_SHARE = 0.5
"""Share of the `corners` scenes with two things."""

SHADES = 3
BACKGROUND_VARIANTS = 16


@dataclass(frozen=True, slots=True)
class Item:
    """One item: a thing or a shape with a colour, or a mark with a value (the other is empty)."""

    noun: str
    colour: str
    place: str
    size: str = "big"
    pattern: str = "plain"
    value: str = ""
    shade: int = 0
    """How dark the colour is, less than `SHADES`."""
    jitter: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart: the column (0-3) it stands in and its height in pixels."""

    column: int
    colour: str
    height: int


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture's content.

    Kinds: `corners` (one or two things, and marks, in the corners and the centre), `pair` (two things
    side by side or stacked, and marks on the other edges), `group` (one to five of the same thing, and
    marks), `chart` (bars and nothing else). "Things" includes shapes here.
    """

    kind: str
    background: str = ""
    variant: int = 0
    items: tuple[Item, ...] = ()
    bars: tuple[Bar, ...] = ()

    @property
    def group(self) -> tuple[Item, ...]:
        """The same things of a `group` scene; empty for other kinds."""
        return tuple(item for item in self.items if not item.value) if self.kind == "group" else ()


def shows_held_back(scene: Scene) -> bool:
    """Whether any item is one of the combinations that training must not show."""
    return any((item.colour, item.noun) in HELD_BACK for item in scene.items)


def draw_scene(rng: Random, *, kind: str | None = None, held_back: bool = False) -> Scene:
    """Draw a scene, of a kind chosen by weight if none is given.

    `held_back` allows the combinations that are kept from training (it does not enforce them).
    """
    kind = kind or rng.choices(list(KINDS), list(KINDS.values()))[0]
    while True:
        scene = _DRAW[kind](rng)
        if held_back or not shows_held_back(scene):
            return scene


def _corners(rng: Random) -> Scene:
    nouns = _two(rng) if rng.random() < _TWO_SHARE else [rng.choice(NOUNS)]
    marks = rng.choices((0, 1, 2), (1, 2, 7))[0]
    things = len(nouns)
    places, colours = rng.sample(CORNERS, things + marks), rng.sample(COLOURS, things)
    items = [_thing(rng, *each) for each in zip(nouns, colours, places[:things], strict=True)]
    items += _marks(rng, places[things:])
    return _before_background(rng, "corners", items)


def _pair(rng: Random) -> Scene:
    places = rng.choice(OPPOSITE_EDGES)
    free = [place for place in EDGES if place not in places]
    marks = rng.randint(0, 1)
    colours, nouns = rng.sample(COLOURS, 2), _two(rng)
    items = [_thing(rng, *each) for each in zip(nouns, colours, places, strict=True)]
    items += _marks(rng, rng.sample(free, marks))
    return _before_background(rng, "pair", items)


def _group(rng: Random) -> Scene:
    count = rng.randint(1, len(NUMBERS))
    places = rng.sample(CORNERS, len(CORNERS))
    marks = min(rng.randint(0, 1), len(places) - count)
    noun, colour, size, pattern = (rng.choice(values) for values in (NOUNS, COLOURS, SIZES, PATTERNS))
    items = [Item(noun, colour, place, size, pattern, jitter=_jitter(rng)) for place in places[:count]]
    items += _marks(rng, places[count : count + marks])
    return _before_background(rng, "group", items)


def _chart(rng: Random) -> Scene:
    columns = sorted(rng.sample(range(4), rng.choice((3, 4, 4, 4))))
    colours = rng.sample(COLOURS, len(columns))
    heights = rng.sample((15, 25, 35, 47, 59), len(columns))
    bars = tuple(Bar(*each) for each in zip(columns, colours, heights, strict=True))
    return Scene("chart", bars=bars)


_DRAW = {"corners": _corners, "pair": _pair, "group": _group, "chart": _chart}


def _before_background(rng: Random, kind: str, items: list[Item]) -> Scene:
    background, variant = rng.choice(BACKGROUNDS), rng.randrange(BACKGROUND_VARIANTS)
    return Scene(kind, background, variant, tuple(items))


def _thing(rng: Random, noun: str, colour: str, place: str) -> Item:
    size, pattern = rng.choice(SIZES), rng.choice(PATTERNS)
    return Item(noun, colour, place, size, pattern, shade=rng.randrange(SHADES), jitter=_jitter(rng))


def _two(rng: Random) -> list[str]:
    """A thing and a shape, in any order."""
    return rng.sample((rng.choice(THINGS), rng.choice(SHAPES)), 2)


def _marks(rng: Random, places: Sequence[str]) -> list[Item]:
    nouns = rng.sample(list(MARKS), len(places))
    return [
        Item(noun, "", place, value=rng.choice(MARKS[noun]), jitter=_jitter(rng))
        for noun, place in zip(nouns, places, strict=True)
    ]


def _jitter(rng: Random) -> tuple[int, int]:
    return rng.randrange(2), rng.randrange(2)
