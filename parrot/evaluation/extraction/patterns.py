"""`answers.yaml` as patterns: how answers are worded in the languages that it knows."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from parrot.errors import ParrotError

ANSWERS_FILE = Path(__file__).with_name("answers.yaml")

# Thai to Khmer, kana, Han: words stand without spaces between them.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(r"\w")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_BEGINS = rf"(?<![^\W{UNSPACED}])"
_ENDS = rf"(?![^\W{UNSPACED}])"

_FULL_WIDTH = {0xFF01 + place: 0x21 + place for place in range(94)} | {0x3000: " "}
_CIRCLED = {0x24B6 + place: chr(ord("A") + place) for place in range(26)}
_CIRCLED |= {0x24D0 + place: chr(ord("a") + place) for place in range(26)}
_INVISIBLE = dict.fromkeys(
    [0xAD, 0xFEFF, 0x61C, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A)]
)
_ARABIC_MARKS = dict.fromkeys([0x640, 0x670, *range(0x64B, 0x660)])  # vowels, and what stretches a word
_PLAIN = str.maketrans({**_FULL_WIDTH, **_CIRCLED, **_INVISIBLE, **_ARABIC_MARKS, "_": " ", "’": "'"})
_MARKUP = re.compile(r"</?[A-Za-z][^<>]{0,40}>|\\(?:text|mathrm|mathbf|textbf)\b")
_SPACES = re.compile(r"[^\S\n]+")
KINDS = (
    "prefix", "particles", "answer", "right", "assert", "option", "after", "link", "adverb", "article",
    "deny", "opinion", "wrong", "join", "yes", "no", "retract", "final", "because", "also", "others",
    "failure", "thought", "result",
)  # fmt: skip
_ONE_I = str.maketrans("İı", "ii")  # Turkish upper and lower case differ from those of other languages


def plain(text: str) -> str:
    """`text` without markup, invisible characters and full-width or circled forms; keeps its lines."""
    text = _MARKUP.sub(" ", text) if "<" in text or "\\" in text else text
    text = text.replace("_", " ") if text.isascii() else text.translate(_PLAIN)
    return _SPACES.sub(" ", text).strip()


def folded(text: str) -> str:
    """In lower case, as long as `text`."""
    return text.translate(_ONE_I).lower()


@dataclass(frozen=True, slots=True)
class AnswerPatterns:
    """What `answers.yaml` says, over all its languages. Patterns read folded text, `letter` plain text."""

    letters: dict[str, str]
    """A letter of another script -> the option letter that it stands for."""
    particles: frozenset[str]
    failures: tuple[str, ...]
    prefixed: re.Pattern[str]
    """A word (group 1) that is written without a space before a letter."""
    letter: re.Pattern[str]
    """A letter (group 1) that stands alone as a word, and is no part of an abbreviation or compound."""
    alone: re.Pattern[str]
    """A letter (group 1) and nothing but punctuation."""
    announced: re.Pattern[str]
    """What leads from an announcement up to an answer."""
    asserted: re.Pattern[str]
    """What leads from "it is" up to a letter."""
    confirmed: re.Pattern[str]
    """What follows an answer that is said to be right."""
    named: re.Pattern[str]
    """What leads from a word such as "option" up to a letter."""
    called: re.Pattern[str]
    """Such a word behind the letter."""
    denied: re.Pattern[str]
    """What leads from a negation up to what it denies."""
    rejected: re.Pattern[str]
    """What follows an answer that is said to be wrong."""
    joined: re.Pattern[str]
    """All that may stand between two parts of one statement."""
    enumerated: re.Pattern[str]
    """A word that joins, in what stands between."""
    linked: re.Pattern[str]
    """What may follow a letter, and no article."""
    right: re.Pattern[str]
    """A verdict anywhere, and not a denied one."""
    wrong: re.Pattern[str]
    begins_yes: re.Pattern[str]
    begins_no: re.Pattern[str]
    cue: re.Pattern[str]
    """Takes back what came before, or begins a conclusion."""
    corrected: re.Pattern[str]
    """What leads from taking something back up to what replaces it."""
    concluded: re.Pattern[str]
    """What leads from the beginning of a conclusion up to a letter."""
    also: re.Pattern[str]
    others: re.Pattern[str]
    thought: re.Pattern[str]
    """A tag round thoughts; group 1 is a slash in one that closes."""
    result: re.Pattern[str]


@cache
def answer_patterns() -> AnswerPatterns:
    """Read `answers.yaml`.

    Raises:
        ParrotError: a kind of words is unknown, or holds something else than texts.
    """
    letters, words = _read()
    one = f"([A-Za-z{''.join(letters)}{''.join(letters).lower()}])"
    single = rf"[^\W\d_{UNSPACED}]"
    any_of = {kind: _any(words[kind]) for kind in KINDS}
    answer, right, option, after = (any_of[kind] for kind in ("answer", "right", "option", "after"))
    article, deny, wrong, join = (any_of[kind] for kind in ("article", "deny", "wrong", "join"))
    asserts, opinion, no = any_of["assert"], any_of["opinion"], any_of["no"]
    retract, final = any_of["retract"], any_of["final"]
    between = _any([*words["link"], *words["adverb"]])
    suffix = r"(?:'\w{1,5})?"  # Turkish: B'dir
    near = r"[ *\"')\]»”–—:,(-]{0,4}"
    after_it, open_ = r"[ *\"')\]»”:(–—-]{0,4}", r"[ *\"'(]{0,4}"
    said = rf"(?:{answer}|{right}|{any_of['because']})(?: (?:{answer}|{right}))*"
    lead = r"(?:[^\w.!?;。؟]|\.{2,}){0,12}"
    called = rf"(?:{between}|{option}|{after}|{article})"
    before = rf"(?:{between}|{option}|{article}|{opinion}|{answer}|{asserts})"
    bad = rf"(?:(?:{answer}|{option}){open_}{wrong}|{wrong}{open_}(?:{answer}|{option}|[:–—]))"
    return AnswerPatterns(
        letters=letters,
        particles=frozenset(words["particles"]),
        failures=tuple(folded(plain(text)) for text in words["failure"]),
        prefixed=re.compile(rf"(?<!\w)({'|'.join(words['prefix'])})(?=[A-Z](?!\w))"),
        letter=re.compile(rf"{_BEGINS}(?<!\w['./])(?<!°){one}{_ENDS}(?![-/]\w|\+|\.{single}(?!\w))"),
        alone=re.compile(rf"\W*{one}\W*"),
        announced=re.compile(rf"{answer}(?:{lead}(?:{between}|{option}|{article}|{final}))*{lead}\Z"),
        asserted=re.compile(rf"{asserts}(?:{open_}(?:{between}|{option}|{article}))*{open_}\Z"),
        confirmed=re.compile(rf"{suffix}(?:{near}{called}){{0,8}}{near}{said}"),
        named=re.compile(rf"{option}(?:\W{{0,4}}{between})*\W{{0,4}}\Z"),
        called=re.compile(rf"[ *\"']{{0,3}}{after}"),
        denied=re.compile(
            rf"(?:{deny}(?:{open_}{before})*{open_}|{bad}(?:[ *\"'(:–—]{{0,4}}{before})*[ *\"'(:–—]{{0,4}})\Z"
        ),
        rejected=re.compile(rf"{suffix}(?:{after_it}{called}){{0,8}}{after_it}{wrong}"),
        joined=re.compile(rf"(?:[^\w\n.!?。؟]|{join}|{article}|{option}|'\w{{1,5}})*"),
        enumerated=re.compile(join),
        linked=re.compile(rf" *(?:{any_of['link']}|{join}|{wrong}|{after})"),
        right=re.compile(f"{answer}|{right}"),
        wrong=re.compile(f"{wrong}|{deny}(?:{open_}{before})*{open_}(?:{answer}|{right})"),
        begins_yes=re.compile(rf"\W*{any_of['yes']}"),
        begins_no=re.compile(rf"\W*(?:{no}|{wrong})"),
        cue=re.compile(f"{retract}|{final}"),
        corrected=re.compile(rf"(?:{retract}|{no})(?:\W{{0,6}}(?:{retract}|{no}|{before}))*\W{{0,6}}\Z"),
        concluded=re.compile(rf"{final}(?:\W{{0,6}}{before})*\W{{0,6}}\Z"),
        also=re.compile(any_of["also"]),
        others=re.compile(any_of["others"]),
        thought=_tag(words["thought"]),
        result=_tag(words["result"]),
    )


def _read() -> tuple[dict[str, str], dict[str, list[str]]]:
    """The letters of other scripts, and the words of each kind."""
    tree = yaml.safe_load(ANSWERS_FILE.read_text(encoding="utf-8"))
    letters: dict[str, str] = {}
    words: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for language, entries in tree.items():
        letters |= entries.pop("letters", {})
        for kind, texts in entries.items():
            if kind not in words or not all(isinstance(text, str) for text in texts):
                known = ", ".join(("letters", *KINDS))
                raise ParrotError(
                    f"{ANSWERS_FILE.name}: {language}.{kind}: expected texts (in quotes if YAML takes one "
                    f"for something else) under one of {known}"
                )
            words[kind] += texts
    return letters, words


def _tag(names: Iterable[str]) -> re.Pattern[str]:
    """A tag of one of these names, with whatever attributes; group 1 is the slash of one that closes."""
    forms = "|".join(re.escape(name).replace(r"\ ", "[ _-]?") for name in names)
    return re.compile(rf"[<◁\[](/?)(?:{forms})(?:\s[^<>]{{0,80}})?[>▷\]]", re.IGNORECASE)


def _any(texts: Iterable[str]) -> str:
    """A pattern for any of the words, longest first; whole words in scripts that have spaces."""
    plain_texts = sorted({folded(plain(text)) for text in texts}, key=len, reverse=True)
    spaced = [re.escape(text) for text in plain_texts if _WORD.match(text) and not _UNSPACED.match(text)]
    unspaced = [re.escape(text) for text in plain_texts if _UNSPACED.match(text) or not _WORD.match(text)]
    if spaced:
        unspaced.append(f"{_BEGINS}(?:{'|'.join(spaced)}){_ENDS}")
    return f"(?:{'|'.join(unspaced) or '(?!)'})"
