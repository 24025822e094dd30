"""The six languages: one module each, all with the same names."""

from typing import Protocol

from examples.picture_world.world.languages import ar, en, pt, ru, tr, zh
from examples.picture_world.world.scene import Item

TRAINED_WORDINGS = 10
BENCHMARK_WORDINGS = {"dev": 10, "test": 11}
"""Which wording a split of the benchmark has; nothing is trained on it."""


class Language(Protocol):
    """What a language's module provides: words as data, and the grammar that joins them.

    Every noun is one of the scene's, or `thing` or `bar`. Phrases start in lower case and
    have no full stop.
    """

    PROMPTS: tuple[str, ...]
    """Ways to ask for a caption."""
    CLOSINGS: tuple[str, ...]
    """Lines below a question's options that ask for a letter; the first is MMMB's."""
    QUESTIONS: dict[str, tuple[str, ...]]
    """Wordings by category (`tallest` and `shortest` for charts): templates, filled with `forms`.

    The first `TRAINED_WORDINGS` are for training, the others for `BENCHMARK_WORDINGS`.
    """
    ANSWERS: dict[str, dict[str, str]]
    """Answers that depend on nothing else, by category and value."""
    PLACES: dict[str, str]
    """'at the top left', as it stands in a sentence or alone."""
    SENTENCES: dict[str, str]
    """Templates of a caption's sentences."""
    STOP: str
    """What ends a sentence, and separates it from the next."""

    def forms(self, noun: str) -> dict[str, str]:
        """The noun in all forms that the templates name."""

    def colour(self, colour: str, noun: str) -> str:
        """The colour, agreeing with the noun."""

    def size(self, size: str, noun: str) -> str:
        """The size, agreeing with the noun."""

    def name(self, noun: str) -> str:
        """What one answers when asked what something is: 'a fish'."""

    def number(self, count: int, noun: str) -> str:
        """What one answers when asked how many there are."""

    def describe(self, item: Item) -> str:
        """'a small red striped fish', 'the digit 7'."""

    def counted(self, item: Item, count: int) -> str:
        """'three small red striped fish'."""

    def listing(self, words: list[str]) -> str:
        """'red, green and blue'."""

    def capital(self, text: str) -> str:
        """The text as it starts a sentence."""


LANGUAGES: dict[str, Language] = {"en": en, "zh": zh, "pt": pt, "ar": ar, "tr": tr, "ru": ru}
