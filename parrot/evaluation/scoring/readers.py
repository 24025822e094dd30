"""Our own reader of answers: from a model's text to the letter of the option that it means, or to nothing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from parrot.evaluation.scoring.wording import UNSPACED, Wording, folded, plain, wording

_UNSPACED = re.compile(f"[{UNSPACED}]")
_EDGES = " \n*#`~|\"'“”‘„«»「」『』()[]{}<>.,;:!?。，、；：！？؟،…"
_SENTENCE_ENDS = ".!?:;\n…。؟"
_REACH = 60
"""How many characters before an option are looked at for what leads up to it."""
_WORD = re.compile(r"\w")
_LETTER_FOLLOWS, _WORD_FOLLOWS = re.compile(r" [^\W\d_]"), re.compile(r" [^\W\d_]{2}")
_PARTED = re.compile(r"[ *\"'»”]{0,3}[.):,،、\]\n–—-]")
_COMPOUND = re.compile(r"\w-\w|\d[.,:/]\d")
_NEGATIVE = re.compile(r"[^\w)]-")


@dataclass(frozen=True, slots=True)
class Mention:
    """A place of the answer at which an option is named, by its letter or by its text."""

    start: int
    end: int
    letter: str
    by_text: bool
    stated: bool
    """Whether the answer says that this is the answer."""


def read_answer(answer: str, options: Mapping[str, str]) -> str | None:
    """The option that an answer means, or None where it is unreadable; never a guess.

    Markup, full-width and circled forms are no difference; a letter of another script stands for the one
    that `answers.yaml` gives, whose names of kinds of words are quoted here. The first row that applies
    decides; "one" is: that option, or unreadable where there are several.

        the answer …                                                        is read as
        1 is an upper-case letter, whatever punctuation is round it         that option
        2 is an option's text, to the letter                                one
        3 is a letter in lower case or of another script                    that option
        4 is an option's text but for case, markup, outer punctuation       one
        5 says that there is none (`failure`)                               unreadable
        6 states options, by letter or text: behind `answer` and `link`     one
          ("Ответ: Б"), before it ("B is correct"), or alone in a line
        7 names options by letter; if it begins with one that is set off    one, but unreadable where it
          ("B. …"), only those joined with that                             names only others by text
        8 names options by text                                             one
        9 does none of this                                                 unreadable

        a letter names an option          alone as a word, in upper case
          in lower case                   if stated, beside `option` or `after`, or set off
          not as a word of the language   a `particle` that begins a sentence, before a word that is not a
                                          `link` or such: "A red box", "A resposta é B", but "A is it"
          not inside something            an option's text, D.C., B-52, N/A, °C
        a text names an option            as whole words: not in "bored", "dark-red", 1.3, -3
          the longer one counts           where two overlap: not "red" in "dark red"
          of one character                in scripts without spaces, only at the start of a phrase
        neither does when denied          behind `deny` ("not B"), before `wrong` ("B is wrong")
        joined                            what only punctuation, `join` or `article` parts is one statement:
                                          "B. red", "red (B)", "A or B"
    """
    text = plain(answer)
    words = wording()
    only = words.alone.fullmatch(text)
    if only and only[1] in options:
        return only[1]
    if exact := [letter for letter, option in options.items() if option.strip() == answer.strip()]:
        return exact[0] if len(exact) == 1 else None
    if only and (letter := _option(only[1], options, words)):
        return letter
    low = folded(text)
    texts = {letter: _comparable(option) for letter, option in options.items()}
    bare = low.strip(_EDGES)
    if same := [letter for letter, option in texts.items() if option == bare and bare]:
        return same[0] if len(same) == 1 else None
    if any(failure in low for failure in words.failures):
        return None
    return _decide(text, low, _mentions(text, low, texts, words), words)


@lru_cache(maxsize=4096)  # rotations repeat the texts
def _comparable(option: str) -> str:
    return folded(plain(option)).strip(_EDGES)


def _decide(text: str, low: str, mentions: Sequence[Mention], words: Wording) -> str | None:
    clusters = _clusters(mentions, low, words)
    stated = [cluster for cluster in clusters if any(mention.stated for mention in cluster)]
    if stated:
        return _only({mention.letter for cluster in stated for mention in cluster})
    by_letter = {mention.letter for mention in mentions if not mention.by_text}
    by_text = {mention.letter for mention in mentions if mention.by_text}
    if not by_letter:
        return _only(by_text)
    first = clusters[0][0]
    if not first.by_text and _set_off(text, first.start):
        by_letter = {mention.letter for mention in clusters[0] if not mention.by_text}
    letter = _only(by_letter)
    return letter if not by_text or letter in by_text else None


def _only(letters: set[str]) -> str | None:
    return next(iter(letters)) if len(letters) == 1 else None


def _clusters(mentions: Sequence[Mention], low: str, words: Wording) -> list[list[Mention]]:
    """Mentions that are parts of one statement."""
    clusters: list[list[Mention]] = []
    for mention in mentions:
        if clusters and words.joined.fullmatch(low, clusters[-1][-1].end, mention.start):
            clusters[-1].append(mention)
        else:
            clusters.append([mention])
    return clusters


def _mentions(text: str, low: str, texts: Mapping[str, str], words: Wording) -> list[Mention]:
    """Every place that names an option and is not denied, in the order of the text."""
    by_text = _text_places(low, texts, words)
    covered = {place for start, end, _ in by_text for place in range(start, end)}
    letters = [
        (match.start(1), match.end(1), letter)
        for match in words.letter.finditer(text)
        if match.start(1) not in covered and (letter := _option(match[1], texts, words))
    ]
    if not by_text and not letters:
        return []
    found = [
        Mention(start, end, letter, True, _is_stated(low, start, end, words))
        for start, end, letter in by_text
    ]
    last = -1  # where the last letter ended
    for start, end, letter in letters:
        if _is_particle(text, low, start, words):
            continue
        stated = _is_stated(low, start, end, words)
        if (
            stated
            or text[start] == text[start].upper()
            or text.startswith(")", end)
            or _set_off(text, start)
            or _leads(words.named, low, start)
            or words.called.match(low, end)
            or (last >= 0 and words.joined.fullmatch(low, last, start))
        ):
            found.append(Mention(start, end, letter, False, stated))
            last = end
    kept = []
    last = -1  # where the last denied one ended
    for mention in sorted(found, key=lambda mention: mention.start):
        if _leads(words.denied, low, mention.start) or (
            last >= 0 and words.joined.fullmatch(low, last, mention.start)
        ):
            last = mention.end
        elif not words.rejected.match(low, mention.end):
            kept.append(mention)
        else:  # with its letter: "A) cat is wrong"
            while kept and words.joined.fullmatch(low, kept[-1].end, mention.start):
                kept.pop()
    return kept


def _option(letter: str, options: Mapping[str, str], words: Wording) -> str | None:
    """The available option for which a letter of any script and case stands."""
    upper = letter.upper()
    found = words.letters.get(letter) or words.letters.get(upper, upper)
    return found if found in options else None


def _is_particle(text: str, low: str, start: int, words: Wording) -> bool:
    """Whether the letter at `start` is a word of its own, such as the article of "A red box"."""
    letter = text[start]
    before = text[:start].rstrip(" *\"'“«(")
    begins = not before or before[-1] in _SENTENCE_ENDS
    if letter in words.particles:
        follows = _LETTER_FOLLOWS
    elif begins and letter.lower() in words.particles:
        follows = _WORD_FOLLOWS
    else:
        return False
    return bool(follows.match(text, start + 1)) and not words.linked.match(low, start + 1)


def _leads(pattern: re.Pattern[str], low: str, start: int) -> bool:
    """Whether the words before `start` are such as lead up to it."""
    return start > 0 and pattern.search(low, max(0, start - _REACH), start) is not None


def _is_stated(low: str, start: int, end: int, words: Wording) -> bool:
    return (
        _is_alone(low, start, end)
        or _leads(words.announced, low, start)
        or words.confirmed.match(low, end) is not None
    )


def _is_alone(low: str, start: int, end: int) -> bool:
    """Whether nothing but punctuation stands beside `low[start:end]` in its line."""
    line_end = low.find("\n", end)
    return not (
        _WORD.search(low, low.rfind("\n", 0, start) + 1, start)
        or _WORD.search(low, end, len(low) if line_end < 0 else line_end)
    )


def _set_off(text: str, start: int) -> bool:
    """Whether the letter at `start` begins the answer and is parted from what follows: "B. …"."""
    return not _WORD.search(text, 0, start) and _PARTED.match(text, start + 1) is not None


def _text_places(low: str, texts: Mapping[str, str], words: Wording) -> list[tuple[int, int, str]]:
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
