"""What a reply says of each option that it names: that it is the answer, that it is not, or neither."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from parrot.evaluation.extraction.mentions import (
    REACH,
    WORD_FOLLOWS,
    Mention,
    is_alone,
    last_match,
    leads,
    set_off,
)
from parrot.evaluation.extraction.patterns import AnswerPatterns

_SENTENCE_END = re.compile(r"[!?。؟;؛\n]|\.(?!\w)")
_CLAUSE_BEGINS = re.compile(r"(?:\A|[^\w\s]|\n)\s*\Z")
_TERMINAL = re.compile(r"(?:'\w{1,5})?[ *\"')\]»”]{0,4}(?:[.!?。؟;,،、\n]|\Z)")
_SEPARATOR = re.compile(r"[,:;(،–—\n-]")
_COMMA = re.compile(r"[,;،]")
_QUESTION = "?؟"


class Verdict(Enum):
    STATED = "the answer"
    NAMED = "an option"
    REJECTED = "not the answer"


@dataclass(frozen=True, slots=True)
class Judged:
    """A mention, and what is said of it."""

    mention: Mention
    verdict: Verdict
    joined: bool
    """Whether it belongs to one statement with the mention before it."""
    ends: int
    """Where what is said of it in its own clause ends."""


def judge(text: str, low: str, mentions: Sequence[Mention], words: AnswerPatterns) -> list[Judged]:
    """The mentions with their verdicts.

    Args:
        text: plain.
        low: the same folded.
    """
    ends = [match.start() for match in _SENTENCE_END.finditer(low)]
    links = [
        _link(low, mentions[place - 1], one, words) if place else _Link.NONE
        for place, one in enumerate(mentions)
    ]
    verdicts: list[Verdict] = []
    spans: list[int] = []
    used = 0  # what is said of one option does not lead up to the next
    for place, one in enumerate(mentions):
        following = mentions[place + 1] if place + 1 < len(mentions) else None
        verdict, span = _own(low, one, following, used, words)
        before = verdicts[-1] if verdicts else None
        goes_on = links[place] is _Link.LIST or (
            links[place] is _Link.COMMA and spans[-1] == mentions[place - 1].end
        )
        if verdict is Verdict.NAMED and before is Verdict.REJECTED and goes_on:
            verdict = Verdict.REJECTED
        if verdict is Verdict.REJECTED and span > one.end:
            _reject_list(verdicts, links, place)
        verdicts.append(verdict)
        spans.append(span)
        used = span
    _judge_lines(text, low, mentions, verdicts, words)
    _judge_clauses(text, low, mentions, verdicts, spans, ends, words)
    _judge_questions(low, mentions, verdicts, ends, words)
    return [
        Judged(one, verdict, link is not _Link.NONE, span)
        for one, verdict, link, span in zip(mentions, verdicts, links, spans, strict=True)
    ]


class _Link(Enum):
    NONE = "two statements"
    COMMA = "parted by punctuation"
    LIST = "joined by a word"


def _link(low: str, one: Mention, other: Mention, words: AnswerPatterns) -> _Link:
    """How two neighbouring mentions belong together."""
    labelled = one.by_letter and not one.by_text and not other.by_letter
    start = one.end + (labelled and low[one.end : one.end + 1] == ".")
    if not words.joined.fullmatch(low, start, other.start):
        return _Link.NONE
    gap = low[start : other.start]
    if one.by_letter and other.by_letter and "(" in gap and ")" not in gap:  # a remark: "B (A is wrong)"
        return _Link.NONE
    if words.enumerated.search(low, start, other.start):
        return _Link.LIST
    subject = WORD_FOLLOWS.match(low, other.end) and not words.enumerated.match(low, other.end + 1)
    parted = start > one.end or (other.by_letter and _COMMA.search(low, start, other.start))
    return _Link.NONE if subject and parted else _Link.COMMA


def _own(
    low: str, one: Mention, following: Mention | None, used: int, words: AnswerPatterns
) -> tuple[Verdict, int]:
    """What is said beside a mention, and where that ends."""
    after = words.rejected.match(low, one.end)
    if after and not _leads_on(words.denied, low, one, following, after):
        return Verdict.REJECTED, after.end()
    if leads(words.denied, low, one.start, used):
        return Verdict.REJECTED, one.end
    confirmed = words.confirmed.match(low, one.end)
    if confirmed and not _announces_next(low, one, following, confirmed, words):
        return Verdict.STATED, confirmed.end()
    if (
        is_alone(low, one.start, one.end)
        or leads(words.announced, low, one.start, used)
        or (one.by_letter and leads(words.asserted, low, one.start, used))
        or _corrects(low, one, used, words)
    ):
        return Verdict.STATED, one.end
    return Verdict.NAMED, one.end


def _leads_on(
    pattern: re.Pattern[str], low: str, one: Mention, following: Mention | None, found: re.Match[str]
) -> bool:
    """Whether the words behind `one` lead up to the mention that follows, and so belong to that."""
    if following is None:
        return False
    lead = pattern.search(low, max(one.end, following.start - REACH), following.start)
    return lead is not None and lead.start() < found.end()


def _announces_next(
    low: str, one: Mention, following: Mention | None, found: re.Match[str], words: AnswerPatterns
) -> bool:
    """Whether what could confirm `one` announces the next: "not A: the right answer is B"."""
    if following is None:
        return False
    lead = words.announced.search(low, max(one.end, following.start - REACH), following.start)
    return bool(
        lead
        and lead.start() < found.end()
        and _SEPARATOR.search(low, one.end, lead.start())
        and not _COMMA.search(low, lead.start(), following.start)
    )


def _corrects(low: str, one: Mention, used: int, words: AnswerPatterns) -> bool:
    """Whether it stands in place of what was said before: "no, wait, B"."""
    if not _TERMINAL.match(low, one.end):
        return False
    since = max(used, one.start - REACH)
    found = words.corrected.search(low, since, one.start)
    if found and (one.by_letter or _CLAUSE_BEGINS.search(low[max(0, found.start() - 3) : found.start()])):
        return True
    return one.by_letter and leads(words.concluded, low, one.start, used)


def _reject_list(verdicts: list[Verdict], links: Sequence[_Link], place: int) -> None:
    """What is said behind the last of a list is said of all: "A, C and D are wrong", but "B, A is wrong"."""
    if links[place] is not _Link.LIST and _Link.NONE in links[max(0, place - 1) : place + 1]:
        return
    while place > 0 and links[place] is not _Link.NONE and verdicts[place - 1] is Verdict.NAMED:
        place -= 1
        verdicts[place] = Verdict.REJECTED


def _judge_lines(
    text: str, low: str, mentions: Sequence[Mention], verdicts: list[Verdict], words: AnswerPatterns
) -> None:
    """Where a reply goes through the options line by line, what its line says of each."""
    labels: dict[int, int] = {}  # where the line begins -> place of the mention that it is about
    for place, one in enumerate(mentions):
        line = low.rfind("\n", 0, one.start) + 1
        if not one.by_letter or line in labels or one.start - line > REACH:
            continue
        if set_off(text, one.start, one.start if words.named.search(low, line, one.start) else line):
            labels[line] = place
    if len({mentions[place].letter for place in labels.values()}) < 2:
        return
    for place in labels.values():
        one = mentions[place]
        end = low.find("\n", one.end)
        end = len(low) if end < 0 else end
        wrong, right = words.wrong.search(low, one.end, end), words.right.search(low, one.end, end)
        if wrong and (right is None or wrong.start() <= right.start()):
            verdicts[place] = Verdict.REJECTED
        elif right:
            verdicts[place] = Verdict.STATED
        elif words.begins_no.match(low, one.end, end):
            verdicts[place] = Verdict.REJECTED
        elif words.begins_yes.match(low, one.end, end):
            verdicts[place] = Verdict.STATED


def _judge_clauses(
    text: str,
    low: str,
    mentions: Sequence[Mention],
    verdicts: list[Verdict],
    spans: Sequence[int],
    ends: Sequence[int],
    words: AnswerPatterns,
) -> None:
    """What the rest of a sentence says of the letter that it begins with: "A has no tail, so it is wrong"."""
    for place, one in enumerate(mentions):
        if verdicts[place] is not Verdict.NAMED or not one.by_letter:
            continue
        first = bisect_left(ends, one.start)
        begin = ends[first - 1] + 1 if first else 0
        if leads(words.named, low, one.start, begin):
            begin = max(begin, one.start - REACH)
        elif re.search(r"\w", low[max(begin, one.start - REACH) : one.start]):
            continue
        last = bisect_left(ends, spans[place])
        end = ends[last] if last < len(ends) else len(low)
        if place + 1 < len(mentions):
            end = min(end, mentions[place + 1].start)
        if not WORD_FOLLOWS.match(low, one.end) or words.others.search(low, one.end, end):
            continue
        if words.wrong.search(low, one.end, end):
            if not words.cue.search(low, one.end, end) or words.rejected.search(low, one.end, end):
                verdicts[place] = Verdict.REJECTED
        elif (right := last_match(words.right, low, one.end, end)) and not re.search(
            r"\w", low[right.end() : end]
        ):
            verdicts[place] = Verdict.STATED


def _judge_questions(
    low: str, mentions: Sequence[Mention], verdicts: list[Verdict], ends: Sequence[int], words: AnswerPatterns
) -> None:
    """What is asked is not said: "Is it A? No."."""
    asked: list[int] = []
    for place, one in enumerate(mentions):
        last = bisect_left(ends, one.end)
        if last == len(ends) or low[ends[last]] not in _QUESTION:
            continue
        if words.begins_no.match(low, ends[last] + 1):
            verdicts[place] = Verdict.REJECTED
        elif words.begins_yes.match(low, ends[last] + 1):
            verdicts[place] = Verdict.STATED
        elif verdicts[place] is not Verdict.REJECTED:
            asked.append(place)
    if sum(verdict is not Verdict.REJECTED for verdict in verdicts) > len(asked):
        for place in asked:
            verdicts[place] = Verdict.REJECTED
