"""Where a reply names options, by letter or by text, whatever it says of them."""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from parrot.evaluation.extraction import patterns
from parrot.evaluation.extraction.patterns import LETTERS, PARTICLES, UNSPACED, WORD

REACH = 60
"""How many characters before an option are looked at for what leads up to it."""
_SENTENCE_ENDS = ".!?:;\n…。؟"
_LETTER_FOLLOWS, WORD_FOLLOWS = re.compile(r" [^\W\d_]"), re.compile(r" [^\W\d_]{2}")
_PARTED = re.compile(r"[ *\"'»”]{0,3}[.。):,،、\]\n–—-]")
_COMPOUND = re.compile(r"\w-\w|\d[.,:/]\d")
_NEGATIVE = re.compile(r"[^\w)]-")


class Verdict(Enum):
    STATED = "the answer"
    NAMED = "an option"
    REJECTED = "not the answer"


class Link(Enum):
    NONE = "another statement"
    COMMA = "parted by punctuation"
    LIST = "joined by a word"


@dataclass(slots=True)
class Mention:
    """A place of the reply at which an option is named, by its letter, its text, or both together."""

    start: int
    end: int
    letter: str
    by_letter: bool
    by_text: bool
    verdict: Verdict = Verdict.NAMED
    link: Link = Link.NONE
    """How it belongs together with the mention before it."""
    said_to: int = 0
    """Where what is said of it in its own clause ends."""


def find_mentions(text: str, low: str, texts: Mapping[str, str]) -> list[Mention]:
    """Every place that names an option, in the order of the text; "B. blue" is one.

    Args:
        text: plain.
        low: the same folded.
        texts: letter -> text of an option, folded and without outer punctuation.
    """
    found = [Mention(start, end, letter, False, True) for start, end, letter in _text_places(low, texts)]
    covered = {place for one in found for place in range(one.start, one.end)}
    last = -1  # where the last letter ended
    for match in patterns.LETTER.finditer(text):
        start, end = match.span(1)
        letter = option_of(match[1], texts)
        if start in covered or letter is None or _is_particle(text, low, start):
            continue
        if (
            text[start] == text[start].upper()
            or text.startswith(")", end)
            or set_off(text, start)
            or is_alone(low, start, end)
            or lead(patterns.ANNOUNCED, low, start)
            or patterns.CONFIRMED.match(low, end)
            or lead(patterns.NAMED, low, start)
            or patterns.CALLED.match(low, end)
            or (last >= 0 and patterns.JOINED.fullmatch(low, last, start))
        ):
            found.append(Mention(start, end, letter, True, False))
            last = end
    mentions: list[Mention] = []
    for other in sorted(found, key=lambda mention: mention.start):
        one = mentions[-1] if mentions else None
        if one and one.letter == other.letter and _label_and_text(low, one, other):
            mentions[-1] = Mention(one.start, other.end, one.letter, True, True)
        else:
            mentions.append(other)
    return mentions


def _label_and_text(low: str, one: Mention, other: Mention) -> bool:
    """Whether two neighbours that name one option are its letter and its text: "B. blue", "blue (B)"."""
    if (one.by_letter, one.by_text) != (other.by_text, other.by_letter):
        return False
    gap = low[one.end : other.start]
    return patterns.JOINED.fullmatch(gap.replace(".", "", 1) if one.by_letter else gap) is not None


def option_of(letter: str, options: Mapping[str, str]) -> str | None:
    """The available option for which a letter of any script and case stands."""
    upper = letter.upper()
    found = LETTERS.get(letter) or LETTERS.get(upper, upper)
    return found if found in options else None


def lead(pattern: re.Pattern[str], low: str, start: int, since: int = 0) -> re.Match[str] | None:
    """What leads up to `start`, of the words before it and not before `since`."""
    since = max(since, start - REACH)
    return pattern.search(low, since, start) if start > since else None


def last_match(pattern: re.Pattern[str], low: str, start: int, end: int) -> re.Match[str] | None:
    """The last place of `low[start:end]` at which the pattern is found."""
    return next(iter(deque(pattern.finditer(low, start, end), maxlen=1)), None)


def line_end(low: str, start: int) -> int:
    """Where the line that `start` is in ends."""
    end = low.find("\n", start)
    return len(low) if end < 0 else end


def is_alone(low: str, start: int, end: int) -> bool:
    """Whether nothing but punctuation stands beside `low[start:end]` in its line."""
    return not (
        WORD.search(low, low.rfind("\n", 0, start) + 1, start) or WORD.search(low, end, line_end(low, end))
    )


def set_off(text: str, start: int, since: int = 0) -> bool:
    """Whether the letter at `start` is the first word after `since`, parted from what follows: "B. …"."""
    return not WORD.search(text, since, start) and _PARTED.match(text, start + 1) is not None


def _is_particle(text: str, low: str, start: int) -> bool:
    """Whether the letter at `start` is a word of its own, such as the article of "A red box"."""
    letter = text[start]
    before = text[max(0, start - 20) : start].rstrip(" *\"'“«(")
    begins = not before or before[-1] in _SENTENCE_ENDS
    if letter in PARTICLES:
        follows = _LETTER_FOLLOWS
    elif begins and letter.lower() in PARTICLES:
        follows = WORD_FOLLOWS
    else:
        return False
    return bool(follows.match(text, start + 1)) and not patterns.LINKED.match(low, start + 1)


def _text_places(low: str, texts: Mapping[str, str]) -> list[tuple[int, int, str]]:
    """Start, end and letter where options' texts stand as whole words; the longer of two that overlap so."""
    found = []
    for letter, option in texts.items():
        if not option or patterns.ALONE.fullmatch(option):
            continue
        start = low.find(option)
        while start >= 0:
            end = start + len(option)
            if _is_whole(low, start, end):
                found.append((start, end, letter))
            start = low.find(option, start + 1)
    kept = []
    widest = (0, 0)
    for start, end, letter in sorted(found, key=lambda place: (place[0], -place[1])):
        if end > widest[1]:
            widest = (start, end)
        if (start, end) == widest:
            kept.append((start, end, letter))
    return kept


def _is_whole(low: str, start: int, end: int) -> bool:
    """Whether `low[start:end]` is no part of a longer word, compound or number."""
    first, last = low[start], low[end - 1]
    before, after = low[max(start - 2, 0) : start], low[end : end + 2]
    if end - start == 1 and UNSPACED.match(first):
        return not WORD.match(before[-1:])
    if _is_glued(before[-1:], first) or _is_glued(last, after[:1]):
        return False
    if _COMPOUND.fullmatch(before + first) or _COMPOUND.fullmatch(last + after):
        return False
    return not (first.isdigit() and (before == "-" or _NEGATIVE.fullmatch(before)))


def _is_glued(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word."""
    return all(WORD.match(side) and not UNSPACED.match(side) for side in (left, right))
