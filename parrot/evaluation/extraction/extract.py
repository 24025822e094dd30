"""From the text of an answer to the letter of the option that it means, or to nothing; never a guess."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from parrot.evaluation.extraction.conclusion import boxed, conclusion
from parrot.evaluation.extraction.mentions import find_mentions, last_match, option_of, set_off
from parrot.evaluation.extraction.patterns import AnswerPatterns, answer_patterns, folded, plain
from parrot.evaluation.extraction.verdicts import Judged, Verdict, judge

_EDGES = " \n*#`~|\"'“”‘„«»「」『』()[]{}<>.,;:!?。，、；：！？؟،…"


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
    answer = conclusion(answer)
    text = plain(answer)
    words = answer_patterns()
    only = words.alone.fullmatch(text)
    if only and only[1] in options:
        return only[1]
    if exact := [letter for letter, option in options.items() if option.strip() == answer.strip()]:
        return exact[0] if len(exact) == 1 else None
    if only and (letter := option_of(only[1], options, words)):
        return letter
    text = words.prefixed.sub(r"\1 ", text)
    low = folded(text)
    texts = {letter: _comparable(option) for letter, option in options.items()}
    bare = low.strip(_EDGES)
    if same := [letter for letter, option in texts.items() if option == bare and bare]:
        return same[0] if len(same) == 1 else None
    if any(failure in low for failure in words.failures):
        return None
    if boxes := set(boxed(answer)):
        read = {extract_answer(content, options) for content in boxes}
        if len(read) == 1 and None not in read:
            return read.pop()
    return _decide(text, low, judge(text, low, find_mentions(text, low, texts, words), words), words)


@lru_cache(maxsize=4096)  # rotations repeat the texts
def _comparable(option: str) -> str:
    return folded(plain(option)).strip(_EDGES)


def _decide(text: str, low: str, judged: Sequence[Judged], words: AnswerPatterns) -> str | None:
    kept = [one for one in _since_last_cue(low, judged, words) if one.verdict is not Verdict.REJECTED]
    clusters = _clusters(kept)
    stated = [cluster for cluster in clusters if any(one.verdict is Verdict.STATED for one in cluster)]
    if stated:
        return _only({one.mention.letter for cluster in stated for one in cluster})
    by_letter = named = {one.mention.letter for one in kept if one.mention.by_letter}
    by_text = {one.mention.letter for one in kept if one.mention.by_text}
    if not by_letter:
        return _only(by_text)
    first = clusters[0][0].mention
    if first.by_letter and set_off(text, first.start):
        by_letter = {one.mention.letter for one in clusters[0] if one.mention.by_letter}
    letter = _only(by_letter)
    return letter if letter in by_text or not by_text - named else None


def _since_last_cue(low: str, judged: Sequence[Judged], words: AnswerPatterns) -> Sequence[Judged]:
    """From the last word on that takes back what was said, or concludes, and is followed by a statement."""
    stated = [one for one in judged if one.verdict is Verdict.STATED]
    if len({one.mention.letter for one in judged if one.verdict is not Verdict.REJECTED}) < 2 or not stated:
        return judged
    last = stated[-1]
    if words.also.search(low, last.mention.end, last.ends):
        return judged
    cue = last_match(words.cue, low, judged[0].mention.end, last.mention.start)
    if cue is None:
        return judged
    return [one for one in judged if one.mention.start >= cue.start()]


def _only(letters: set[str]) -> str | None:
    return next(iter(letters)) if len(letters) == 1 else None


def _clusters(kept: Sequence[Judged]) -> list[list[Judged]]:
    """Mentions that are parts of one statement."""
    clusters: list[list[Judged]] = []
    for one in kept:
        if clusters and one.joined:
            clusters[-1].append(one)
        else:
            clusters.append([one])
    return clusters
