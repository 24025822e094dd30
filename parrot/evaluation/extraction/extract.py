"""From the text of an answer to the letter of the option that it means, or to nothing; never a guess."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from parrot.evaluation.extraction import patterns
from parrot.evaluation.extraction.mentions import (
    Link,
    Mention,
    Verdict,
    find_mentions,
    last_match,
    option_of,
    set_off,
)
from parrot.evaluation.extraction.patterns import folded, plain
from parrot.evaluation.extraction.verdicts import judge

_EDGES = " \n*#`~|\"'“”‘„«»「」『』()[]{}<>.,;:!?。，、；：！？؟،…"
_BOX = re.compile(r"\\f?boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")


def extract_answer(answer: str, options: Mapping[str, str]) -> str | None:
    """The option that an answer means, or None where it is unreadable; never a guess.

    Markup, full-width and circled forms are no difference; a letter of another script stands for the one
    that `answers.yaml` gives, whose names of kinds of words are quoted here. What stands in tags of a
    `thought` is not read; where there are tags of a `result`, nothing else is. The first row that applies
    decides; "one" is: that option, or unreadable where there are several.

        the answer …                                                        is read as
        1 is an upper-case letter, whatever punctuation is round it         that option
        2 is an option's text, to the letter                                one
        3 is a letter in lower case or of another script                    that option
        4 is an option's text but for case, markup, outer punctuation       one
        5 says that there is none (`failure`)                               unreadable
        6 holds \\boxed{…} that is read as one option                       that option
        7 states options, by letter or text (below)                         one
        8 names options by letter; if it begins with one that is set off    one, but unreadable where it
          ("B. …"), only those joined with that                             names only others by text
        9 names options by text                                             one
        10 does none of this                                                unreadable

        a letter names an option          alone as a word, in upper case
          in lower case                   if stated, beside `option` or `after`, or set off
          not as a word of the language   a `particle` that begins a sentence, before a word that is not a
                                          `link` or such: "A red box", "A resposta é B", but "A is it"
          not inside something            an option's text, D.C., B-52, N/A, °C
        a text names an option            as whole words: not in "bored", "dark-red", 1.3, -3
          the longer one counts           where two overlap: not "red" in "dark red"
          of one character                in scripts without spaces, only at the start of a phrase
        an option is stated               behind `answer` and `link` ("Ответ: Б"), or `assert`; before
                                          `answer` or `right` ("B is right"); alone in a line; by what its own
                                          line or the end of its sentence says ("B barks, which is right");
                                          in place of another ("no, B"), behind `final` or `retract`
        it is rejected, and not named     behind `deny` ("not B") or "the `wrong` `answer` is", before `wrong`
                                          ("B is wrong"); by its line or sentence; by No to a question
          with the rest of its list       "A, C and D are wrong", "neither A nor C"
        joined                            what only punctuation, `join` or `article` parts is one statement:
                                          "B. red", "red (B)", "A or B"; but not two sentences
        behind `retract` or `final`       what is stated counts alone, unless it adds to the earlier (`also`)
    """
    answer = _conclusion(answer)
    text = plain(answer)
    only = patterns.ALONE.fullmatch(text)
    if only and only[1] in options:
        return only[1]
    if exact := [letter for letter, option in options.items() if option.strip() == answer.strip()]:
        return _only(exact)
    if only and (letter := option_of(only[1], options)):
        return letter
    text = patterns.PREFIXED.sub(r"\1 ", text)
    low = folded(text)
    texts = {letter: comparable(option) for letter, option in options.items()}
    bare = low.strip(_EDGES)
    if same := [letter for letter, option in texts.items() if option == bare and bare]:
        return _only(same)
    if any(failure in low for failure in patterns.FAILURES):
        return None
    boxes = {box[1] for box in _BOX.finditer(answer)} if "boxed" in answer else set()
    if boxes and (boxed := _only({extract_answer(content, options) for content in boxes})):
        return boxed
    mentions = find_mentions(text, low, texts)
    judge(text, low, mentions)
    return _decide(text, low, mentions)


def match_answer(answer: str, options: Mapping[str, str]) -> str | None:
    """The option that an answer is, but for case, markup and outer punctuation; None where it is not one."""
    return _only([letter for letter, option in options.items() if comparable(option) == comparable(answer)])


def _conclusion(reply: str) -> str:
    """The reply without thoughts in tags, and where the answer has tags of its own, the last such answer.

    Where a thought is closed and was never opened (the prompt did so), all before it is thought; where it
    is never closed, all behind it.
    """
    parts: list[str] = []
    place, thinking = 0, False
    for tag in patterns.THOUGHT.finditer(reply):
        if tag[1] and not thinking:
            parts = []
        elif not tag[1] and not thinking:
            parts.append(reply[place : tag.start()])
        place, thinking = tag.end(), not tag[1]
    reply = "\n".join(parts if thinking else [*parts, reply[place:]])
    marks = list(patterns.RESULT.finditer(reply))
    opened = [number for number, mark in enumerate(marks) if not mark[1]]
    if not opened:
        return reply
    following = marks[opened[-1] + 1 : opened[-1] + 2]
    return reply[marks[opened[-1]].end() : following[0].start() if following else len(reply)]


@lru_cache(maxsize=4096)  # rotations repeat the texts
def comparable(text: str) -> str:
    """A text without what is no difference between two: case, markup, outer punctuation."""
    return folded(plain(text)).strip(_EDGES)


def _decide(text: str, low: str, mentions: Sequence[Mention]) -> str | None:
    statements: list[list[Mention]] = []
    for one in _since_last_cue(low, mentions):
        if one.verdict is Verdict.REJECTED:
            continue
        if statements and one.link is not Link.NONE:
            statements[-1].append(one)
        else:
            statements.append([one])
    kept = [one for statement in statements for one in statement]
    stated = [some for some in statements if any(one.verdict is Verdict.STATED for one in some)]
    if stated:
        return _only({one.letter for statement in stated for one in statement})
    by_letter = named = {one.letter for one in kept if one.by_letter}
    by_text = {one.letter for one in kept if one.by_text}
    if not by_letter:
        return _only(by_text)
    first = kept[0]
    if first.by_letter and set_off(text, first.start):
        by_letter = {one.letter for one in statements[0] if one.by_letter}
    letter = _only(by_letter)
    return letter if letter in by_text or not by_text - named else None


def _since_last_cue(low: str, mentions: Sequence[Mention]) -> Sequence[Mention]:
    """From the last word on that takes back what was said, or concludes, and is followed by a statement."""
    stated = [one for one in mentions if one.verdict is Verdict.STATED]
    if len({one.letter for one in mentions if one.verdict is not Verdict.REJECTED}) < 2 or not stated:
        return mentions
    last = stated[-1]
    if patterns.ALSO.search(low, last.end, last.said_to):
        return mentions
    cue = last_match(patterns.CUE, low, mentions[0].end, last.start)
    return mentions if cue is None else [one for one in mentions if one.start >= cue.start()]


def _only(letters: Collection[str | None]) -> str | None:
    return next(iter(letters)) if len(letters) == 1 else None
