"""English."""

from examples.picture_world.world.scene import Item
from examples.picture_world.world.wordings.english import QUESTIONS as QUESTIONS

PROMPTS: tuple[str, ...] = (
    "Describe the picture.",
    "What do you see in the picture?",
    "Describe everything in the picture.",
)

CLOSINGS: tuple[str, ...] = (
    "Answer with the option's letter from the given choices directly.",
    "Give the letter of the right option.",
)

ANSWERS = {
    "relation": {"left": "to the left", "right": "to the right", "above": "above", "below": "below"},
    "pattern": {"plain": "plain", "striped": "striped", "dotted": "dotted", "checked": "checked"},
    "scene": {
        "night": "the night sky",
        "beach": "a beach",
        "snow": "snow",
        "meadow": "a meadow",
        "desert": "a desert",
        "sea": "the sea",
    },
    "direction": {"up": "up", "down": "down", "left": "to the left", "right": "to the right"},
    "emotion": {"happy": "happy", "sad": "sad", "angry": "angry", "surprised": "surprised"},
}

PLACES = {
    "top left": "at the top left",
    "top right": "at the top right",
    "bottom left": "at the bottom left",
    "bottom right": "at the bottom right",
    "centre": "in the centre",
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
}

SENTENCES = {
    "scene": "In the background is {scene}",
    "item": "{place} there is {item}",
    "group": "There are {items} in the picture",
    "chart": "This is a bar chart with these bars: {colours}",
    "extremes": "The tallest bar is {tallest}, the shortest is {shortest}",
}

STOP = ". "
_PLURALS = {"fish": "fish"}
_NUMBERS = ("one", "two", "three", "four", "five")


def forms(noun: str) -> dict[str, str]:
    return {"noun": noun, "nouns": _PLURALS.get(noun, f"{noun}s")}


def colour(colour: str, noun: str) -> str:
    return colour


def size(size: str, noun: str) -> str:
    return size


def name(noun: str) -> str:
    return _with_article(noun)


def number(count: int, noun: str) -> str:
    return _NUMBERS[count - 1]


def describe(item: Item) -> str:
    match item.noun:
        case "digit" | "letter":
            return f"the {item.noun} {item.value}"
        case "face":
            return _with_article(f"{item.value} face")
        case "arrow":
            return f"an arrow that points {ANSWERS['direction'][item.value]}"
    return _with_article(f"{_adjectives(item)} {item.noun}")


def counted(item: Item, count: int) -> str:
    noun = item.noun if count == 1 else forms(item.noun)["nouns"]
    return f"{_NUMBERS[count - 1]} {_adjectives(item)} {noun}"


def listing(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _adjectives(item: Item) -> str:
    return f"{item.size} {item.colour} {item.pattern}"


def _with_article(text: str) -> str:
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"
