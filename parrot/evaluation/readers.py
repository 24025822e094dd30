"""Our own reader of answers: from a model's text to the letter of the option that it means, or to nothing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from parrot.evaluation.wording import UNSPACED, Wording, folded, plain, wording

_UNSPACED = re.compile(f"[{UNSPACED}]")
_EDGES = " \n*#`~|\"'“”‘„«»「」『』()[]{}<>.,;:!?。，、；：！？؟،…"
_SENTENCE_ENDS = ".!?:;\n…。؟"
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
    stated: bool = False
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
    texts = {letter: folded(plain(option)).strip(_EDGES) for letter, option in options.items()}
    bare = low.strip(_EDGES)
    if same := [letter for letter, option in texts.items() if option == bare and bare]:
        return same[0] if len(same) == 1 else None
    if any(failure in low for failure in words.failures):
        return None
    return _decide(text, _mentions(text, low, texts, words), words)


def _decide(text: str, mentions: Sequence[Mention], words: Wording) -> str | None:
    clusters = _clusters(mentions, folded(text), words)
    stated = {mention.letter for cluster in clusters for mention in cluster if mention.stated}
    if stated:
        return _only(stated)
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
    """Mentions that are parts of one statement; all of them are stated if one is."""
    clusters: list[list[Mention]] = []
    for mention in mentions:
        if clusters and words.joined.fullmatch(low, clusters[-1][-1].end, mention.start):
            clusters[-1].append(mention)
        else:
            clusters.append([mention])
    return [
        [replace(mention, stated=any(other.stated for other in cluster)) for mention in cluster]
        for cluster in clusters
    ]


def _mentions(text: str, low: str, texts: Mapping[str, str], words: Wording) -> list[Mention]:
    """Every place that names an option and is not denied, in the order of the text."""
    by_text = _text_mentions(low, texts, words)
    letters = [
        (match.start(1), match.end(1), letter)
        for match in words.letter.finditer(text)
        if (letter := _option(match[1], texts, words))
        and not any(other.start <= match.start(1) < other.end for other in by_text)
    ]
    if not by_text and not letters:
        return []
    announced = {match.end() for match in words.announced.finditer(low)}
    named = {match.end() for match in words.named.finditer(low)}
    denied = {match.end() for match in words.denied.finditer(low)}
    denied_texts = {match.end() for match in words.denied_text.finditer(low)}

    def stated(start: int, end: int) -> bool:
        return start in announced or _is_alone(low, start, end) or bool(words.confirmed.match(low, end))

    found = [replace(mention, stated=stated(mention.start, mention.end)) for mention in by_text]
    last = -1  # where the last letter ended
    for start, end, letter in letters:
        mention = Mention(start, end, letter, by_text=False, stated=stated(start, end))
        is_named = mention.stated or start in named or words.called.match(low, end)
        is_set_off = text.startswith(")", end) or _set_off(text, start)
        is_upper = text[start] == text[start].upper()
        is_joined = last >= 0 and words.joined.fullmatch(low, last, start)
        if (is_upper or is_named or is_set_off or is_joined) and not _is_particle(text, low, start, words):
            found.append(mention)
            last = end
    kept = []
    last = -1  # where the last denied one ended
    for mention in sorted(found, key=lambda mention: mention.start):
        is_denied = mention.start in denied or (mention.by_text and mention.start in denied_texts)
        if is_denied or (last >= 0 and words.joined.fullmatch(low, last, mention.start)):
            last = mention.end
        elif not words.rejected.match(low, mention.end):
            kept.append(mention)
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


def _text_mentions(low: str, texts: Mapping[str, str], words: Wording) -> list[Mention]:
    """Where options' texts stand as whole words; of two of which one holds the other, the longer."""
    found = []
    for letter, option in texts.items():
        if not option or words.alone.fullmatch(option):
            continue
        start = low.find(option)
        while start >= 0:
            end = start + len(option)
            if _is_whole(low, start, end):
                found.append(Mention(start, end, letter, by_text=True))
            start = low.find(option, start + 1)
    return [
        mention
        for mention in found
        if not any(
            other.start <= mention.start and mention.end <= other.end
            and other.end - other.start > mention.end - mention.start
            for other in found
        )
    ]  # fmt: skip


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
