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
    "particles", "answer", "option", "after", "link", "adverb", "article", "deny", "wrong", "join", "failure"
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
class Wording:
    """What `answers.yaml` says, over all its languages. Patterns read folded text, `letter` plain text."""

    letters: dict[str, str]
    """A letter of another script -> the option letter that it stands for."""
    particles: frozenset[str]
    failures: tuple[str, ...]
    letter: re.Pattern[str]
    """A letter (group 1) that stands alone as a word, and is no part of an abbreviation or compound."""
    alone: re.Pattern[str]
    """A letter (group 1) and nothing but punctuation."""
    announced: re.Pattern[str]
    """What leads from an announcement up to an answer."""
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
    """All that may stand between two parts of one answer."""
    linked: re.Pattern[str]
    """What may follow a letter, and no article."""


@cache
def wording() -> Wording:
    """Read `answers.yaml`.

    Raises:
        ParrotError: a kind of words is unknown, or holds something else than texts.
    """
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
    one = f"([A-Za-z{''.join(letters)}{''.join(letters).lower()}])"
    single = rf"[^\W\d_{UNSPACED}]"
    after_it = r"[ *\"')\]»”:]{0,4}"
    near, open_ = r"[ *\"')\]»”–—-]{0,4}", r"[ *\"'(]{0,4}"
    answer, option, after = (_any(words[kind]) for kind in ("answer", "option", "after"))
    article, deny, wrong, join = (_any(words[kind]) for kind in ("article", "deny", "wrong", "join"))
    link, between = _any(words["link"]), _any([*words["link"], *words["adverb"]])
    return Wording(
        letters=letters,
        particles=frozenset(words["particles"]),
        failures=tuple(folded(plain(text)) for text in words["failure"]),
        letter=re.compile(rf"{_BEGINS}(?<!\w['./])(?<!°){one}{_ENDS}(?![-/]\w|\+|\.{single}(?!\w))"),
        alone=re.compile(rf"\W*{one}\W*"),
        announced=re.compile(rf"{answer}(?:\W{{0,12}}(?:{between}|{option}|{article}))*\W{{0,12}}\Z"),
        confirmed=re.compile(rf"(?:{near}(?:{between}|{article}))*{near}{answer}"),
        named=re.compile(rf"{option}(?:\W{{0,4}}{between})*\W{{0,4}}\Z"),
        called=re.compile(rf"[ *\"']{{0,3}}{after}"),
        denied=re.compile(rf"{deny}(?:{open_}(?:{between}|{option}|{article}))*{open_}\Z"),
        rejected=re.compile(rf"(?:{after_it}{between})*{after_it}{wrong}"),
        joined=re.compile(rf"(?:[^\w\n]|{join}|{article})*"),
        linked=re.compile(rf" *(?:{link}|{join}|{wrong}|{after})"),
    )


def _any(texts: Iterable[str]) -> str:
    """A pattern for any of the words, longest first; whole words in scripts that have spaces."""
    plain_texts = sorted({folded(plain(text)) for text in texts}, key=len, reverse=True)
    spaced = [re.escape(text) for text in plain_texts if not _UNSPACED.match(text)]
    unspaced = [re.escape(text) for text in plain_texts if _UNSPACED.match(text)]
    if spaced:
        unspaced.append(f"{_BEGINS}(?:{'|'.join(spaced)}){_ENDS}")
    return f"(?:{'|'.join(unspaced) or '(?!)'})"
