"""Where a reply names options, by letter or by text, whatever it says of them."""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from parrot.evaluation.extraction.patterns import UNSPACED, AnswerPatterns

_UNSPACED = re.compile(f"[{UNSPACED}]")
_SENTENCE_ENDS = ".!?:;\n…。؟"
REACH = 60
"""How many characters before an option are looked at for what leads up to it."""
_WORD = re.compile(r"\w")
_LETTER_FOLLOWS, WORD_FOLLOWS = re.compile(r" [^\W\d_]"), re.compile(r" [^\W\d_]{2}")
_PARTED = re.compile(r"[ *\"'»”]{0,3}[.。):,،、\]\n–—-]")
_COMPOUND = re.compile(r"\w-\w|\d[.,:/]\d")
_NEGATIVE = re.compile(r"[^\w)]-")


@dataclass(frozen=True, slots=True)
class Mention:
    """A place of the reply at which an option is named, by its letter, its text, or both together."""

    start: int
    end: int
    letter: str
    by_letter: bool
    by_text: bool


def find_mentions(text: str, low: str, texts: Mapping[str, str], words: AnswerPatterns) -> list[Mention]:
    """Every place that names an option, in the order of the text; "B. blue" is one.

    Args:
        text: plain.
        low: the same folded.
        texts: letter -> text of an option, folded and without outer punctuation.
    """
    by_text = _text_places(low, texts, words)
    covered = {place for start, end, _ in by_text for place in range(start, end)}
    found = [Mention(start, end, letter, False, True) for start, end, letter in by_text]
    last = -1  # where the last letter ended
    for match in words.letter.finditer(text):
        start, end = match.span(1)
        letter = option_of(match[1], texts, words)
        if start in covered or letter is None or _is_particle(text, low, start, words):
            continue
        if (
            text[start] == text[start].upper()
            or text.startswith(")", end)
            or set_off(text, start)
            or is_alone(low, start, end)
            or leads(words.announced, low, start)
            or words.confirmed.match(low, end)
            or leads(words.named, low, start)
            or words.called.match(low, end)
            or (last >= 0 and words.joined.fullmatch(low, last, start))
        ):
            found.append(Mention(start, end, letter, True, False))
            last = end
    return list(_with_their_texts(sorted(found, key=lambda mention: mention.start), low, words))


def _with_their_texts(mentions: list[Mention], low: str, words: AnswerPatterns) -> Iterator[Mention]:
    """Neighbours that name one option, by letter and by text, as one: "B. blue", "blue (B)"."""
    place = 0
    while place < len(mentions):
        one = mentions[place]
        place += 1
        if place < len(mentions):
            other = mentions[place]
            gap = low[one.end : other.start]
            same = one.letter == other.letter and one.by_letter != other.by_letter
            if same and words.joined.fullmatch(gap.replace(".", "", 1) if one.by_letter else gap):
                one = Mention(one.start, other.end, one.letter, True, True)
                place += 1
        yield one


def option_of(letter: str, options: Mapping[str, str], words: AnswerPatterns) -> str | None:
    """The available option for which a letter of any script and case stands."""
    upper = letter.upper()
    found = words.letters.get(letter) or words.letters.get(upper, upper)
    return found if found in options else None


def leads(pattern: re.Pattern[str], low: str, start: int, since: int = 0) -> bool:
    """Whether the words before `start`, and not before `since`, are such as lead up to it."""
    since = max(since, start - REACH)
    return start > since and pattern.search(low, since, start) is not None


def last_match(pattern: re.Pattern[str], low: str, start: int, end: int) -> re.Match[str] | None:
    """The last place of `low[start:end]` at which the pattern is found."""
    return next(iter(deque(pattern.finditer(low, start, end), maxlen=1)), None)


def is_alone(low: str, start: int, end: int) -> bool:
    """Whether nothing but punctuation stands beside `low[start:end]` in its line."""
    line_end = low.find("\n", end)
    return not (
        _WORD.search(low, low.rfind("\n", 0, start) + 1, start)
        or _WORD.search(low, end, len(low) if line_end < 0 else line_end)
    )


def set_off(text: str, start: int, since: int = 0) -> bool:
    """Whether the letter at `start` is the first word after `since`, parted from what follows: "B. …"."""
    return not _WORD.search(text, since, start) and _PARTED.match(text, start + 1) is not None


def _is_particle(text: str, low: str, start: int, words: AnswerPatterns) -> bool:
    """Whether the letter at `start` is a word of its own, such as the article of "A red box"."""
    letter = text[start]
    before = text[max(0, start - 20) : start].rstrip(" *\"'“«(")
    begins = not before or before[-1] in _SENTENCE_ENDS
    if letter in words.particles:
        follows = _LETTER_FOLLOWS
    elif begins and letter.lower() in words.particles:
        follows = WORD_FOLLOWS
    else:
        return False
    return bool(follows.match(text, start + 1)) and not words.linked.match(low, start + 1)


def _text_places(low: str, texts: Mapping[str, str], words: AnswerPatterns) -> list[tuple[int, int, str]]:
    """Start, end and letter where options' texts stand as whole words; the longer of two that overlap so."""
    found = []
    for letter, option in texts.items():
        if not option or words.alone.fullmatch(option):
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
    if end - start == 1 and _UNSPACED.match(first):
        return not _WORD.match(before[-1:])
    if _is_glued(before[-1:], first) or _is_glued(last, after[:1]):
        return False
    if _COMPOUND.fullmatch(before + first) or _COMPOUND.fullmatch(last + after):
        return False
    return not (first.isdigit() and (before == "-" or _NEGATIVE.fullmatch(before)))


def _is_glued(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word."""
    return bool(
        _WORD.match(left) and _WORD.match(right) and not _UNSPACED.match(left) and not _UNSPACED.match(right)
    )
