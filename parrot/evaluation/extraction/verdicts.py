"""What a reply says of each option that it names: that it is the answer, that it is not, or neither."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from parrot.evaluation.extraction import patterns
from parrot.evaluation.extraction.mentions import (
    REACH,
    WORD_FOLLOWS,
    Link,
    Mention,
    Verdict,
    is_alone,
    last_match,
    lead,
    line_end,
    set_off,
)
from parrot.evaluation.extraction.patterns import WORD

_SENTENCE_END = re.compile(r"[!?。؟;؛\n]|\.(?!\w)")
_CLAUSE_BEGINS = re.compile(r"(?:\A|[^\w\s]|\n)\s*\Z")
_TERMINAL = re.compile(r"(?:'\w{1,5})?[ *\"')\]»”]{0,4}(?:[.!?。؟;,،、\n]|\Z)")
_SEPARATOR = re.compile(r"[,:;(،–—\n-]")
_COMMA = re.compile(r"[,;،]")
_QUESTION = "?؟"


def judge(text: str, low: str, mentions: Sequence[Mention]) -> None:
    """Give the mentions their verdicts, and what goes with them.

    Args:
        text: plain.
        low: the same folded.
    """
    for one, other in pairwise(mentions):
        other.link = _link(low, one, other)
    used = 0  # what is said of one option does not lead up to the next
    for place, one in enumerate(mentions):
        before = mentions[place - 1] if place else None
        following = mentions[place + 1] if place + 1 < len(mentions) else None
        one.verdict, used = _own(low, one, following, used)
        one.said_to = used
        goes_on = one.link is Link.LIST or (
            one.link is Link.COMMA and before is not None and before.said_to == before.end
        )
        if one.verdict is Verdict.NAMED and before and before.verdict is Verdict.REJECTED and goes_on:
            one.verdict = Verdict.REJECTED
        if one.verdict is Verdict.REJECTED and used > one.end:
            _reject_list(mentions, place)
    ends = [match.start() for match in _SENTENCE_END.finditer(low)]
    _judge_lines(text, low, mentions)
    _judge_clauses(low, mentions, ends)
    _judge_questions(low, mentions, ends)


def _link(low: str, one: Mention, other: Mention) -> Link:
    """How two neighbouring mentions belong together."""
    labelled = one.by_letter and not one.by_text and not other.by_letter
    start = one.end + (labelled and low[one.end : one.end + 1] == ".")
    if not patterns.JOINED.fullmatch(low, start, other.start):
        return Link.NONE
    gap = low[start : other.start]
    if one.by_letter and other.by_letter and "(" in gap and ")" not in gap:  # a remark: "B (A is wrong)"
        return Link.NONE
    if patterns.ENUMERATED.search(low, start, other.start):
        return Link.LIST
    subject = WORD_FOLLOWS.match(low, other.end) and not patterns.ENUMERATED.match(low, other.end + 1)
    parted = start > one.end or (other.by_letter and _COMMA.search(low, start, other.start))
    return Link.NONE if subject and parted else Link.COMMA


def _own(low: str, one: Mention, following: Mention | None, used: int) -> tuple[Verdict, int]:
    """What is said beside a mention, and where that ends."""
    after = patterns.REJECTED.match(low, one.end)
    if after and not _leads_on(patterns.DENIED, low, one, following, after):
        return Verdict.REJECTED, after.end()
    if lead(patterns.DENIED, low, one.start, used):
        return Verdict.REJECTED, one.end
    confirmed = patterns.CONFIRMED.match(low, one.end)
    if confirmed and not _announces_next(low, one, following, confirmed):
        return Verdict.STATED, confirmed.end()
    if (
        is_alone(low, one.start, one.end)
        or lead(patterns.ANNOUNCED, low, one.start, used)
        or (one.by_letter and lead(patterns.ASSERTED, low, one.start, used))
        or _corrects(low, one, used)
    ):
        return Verdict.STATED, one.end
    return Verdict.NAMED, one.end


def _leads_on(
    pattern: re.Pattern[str], low: str, one: Mention, following: Mention | None, found: re.Match[str]
) -> re.Match[str] | None:
    """What leads up to the mention that follows, if the words `found` behind `one` are part of it."""
    words = lead(pattern, low, following.start, one.end) if following else None
    return words if words and words.start() < found.end() else None


def _announces_next(low: str, one: Mention, following: Mention | None, found: re.Match[str]) -> bool:
    """Whether what could confirm `one` announces the next: "not A: the right answer is B"."""
    words = _leads_on(patterns.ANNOUNCED, low, one, following, found)
    return bool(
        words
        and _SEPARATOR.search(low, one.end, words.start())
        and not _COMMA.search(low, words.start(), words.end())
    )


def _corrects(low: str, one: Mention, used: int) -> bool:
    """Whether it stands in place of what was said before: "no, wait, B"."""
    if not _TERMINAL.match(low, one.end):
        return False
    found = lead(patterns.CORRECTED, low, one.start, used)
    if found and (one.by_letter or _CLAUSE_BEGINS.search(low[max(0, found.start() - 3) : found.start()])):
        return True
    return one.by_letter and lead(patterns.CONCLUDED, low, one.start, used) is not None


def _reject_list(mentions: Sequence[Mention], place: int) -> None:
    """What is said behind the last of a list is said of all: "A, C and D are wrong", but "B, A is wrong"."""
    links = [one.link for one in mentions[max(0, place - 1) : place + 1]]
    if links[-1] is not Link.LIST and Link.NONE in links:
        return
    while place > 0 and mentions[place].link is not Link.NONE:
        place -= 1
        if mentions[place].verdict is not Verdict.NAMED:
            return
        mentions[place].verdict = Verdict.REJECTED


def _judge_lines(text: str, low: str, mentions: Sequence[Mention]) -> None:
    """Where a reply goes through the options line by line, what its line says of each."""
    labels: dict[int, Mention] = {}  # where the line begins -> the mention that it is about
    for one in mentions:
        line = low.rfind("\n", 0, one.start) + 1
        if not one.by_letter or line in labels or one.start - line > REACH:
            continue
        if set_off(text, one.start, one.start if patterns.NAMED.search(low, line, one.start) else line):
            labels[line] = one
    if len({one.letter for one in labels.values()}) < 2:
        return
    for one in labels.values():
        end = line_end(low, one.end)
        wrong, right = patterns.WRONG.search(low, one.end, end), patterns.RIGHT.search(low, one.end, end)
        if wrong and (right is None or wrong.start() <= right.start()):
            one.verdict = Verdict.REJECTED
        elif right:
            one.verdict = Verdict.STATED
        else:
            one.verdict = _yes_or_no(low, one.end, end) or one.verdict


def _yes_or_no(low: str, start: int, end: int) -> Verdict | None:
    if patterns.BEGINS_NO.match(low, start, end):
        return Verdict.REJECTED
    return Verdict.STATED if patterns.BEGINS_YES.match(low, start, end) else None


def _judge_clauses(low: str, mentions: Sequence[Mention], ends: Sequence[int]) -> None:
    """What the rest of a sentence says of the letter that it begins with: "A has no tail, so it is wrong"."""
    for place, one in enumerate(mentions):
        if one.verdict is not Verdict.NAMED or not one.by_letter:
            continue
        first = bisect_left(ends, one.start)
        begin = ends[first - 1] + 1 if first else 0
        if not lead(patterns.NAMED, low, one.start, begin) and WORD.search(
            low, max(begin, one.start - REACH), one.start
        ):
            continue
        last = bisect_left(ends, one.said_to)
        end = ends[last] if last < len(ends) else len(low)
        if place + 1 < len(mentions):
            end = min(end, mentions[place + 1].start)
        if not WORD_FOLLOWS.match(low, one.end) or patterns.OTHERS.search(low, one.end, end):
            continue
        if patterns.WRONG.search(low, one.end, end):
            if not patterns.CUE.search(low, one.end, end) or patterns.REJECTED.search(low, one.end, end):
                one.verdict = Verdict.REJECTED
        elif (right := last_match(patterns.RIGHT, low, one.end, end)) and not WORD.search(
            low, right.end(), end
        ):
            one.verdict = Verdict.STATED


def _judge_questions(low: str, mentions: Sequence[Mention], ends: Sequence[int]) -> None:
    """What is asked is not said: "Is it A? No."."""
    asked: list[Mention] = []
    for one in mentions:
        last = bisect_left(ends, one.end)
        if last == len(ends) or low[ends[last]] not in _QUESTION:
            continue
        if said := _yes_or_no(low, ends[last] + 1, len(low)):
            one.verdict = said
        elif one.verdict is not Verdict.REJECTED:
            asked.append(one)
    if sum(one.verdict is not Verdict.REJECTED for one in mentions) > len(asked):
        for one in asked:
            one.verdict = Verdict.REJECTED
