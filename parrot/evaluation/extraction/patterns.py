"""`answers.yaml` as patterns: how answers are worded, over all the languages that it knows.

Patterns read folded text, `LETTER` and `PREFIXED` plain text.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from parrot.errors import ParrotError
from parrot.yaml_files import read_yaml

_FILE = Path(__file__).with_name("answers.yaml")
_KINDS = (
    "prefix", "particles", "answer", "right", "assert", "option", "after", "link", "adverb", "article",
    "deny", "opinion", "wrong", "join", "yes", "no", "retract", "final", "because", "also", "others",
    "failure", "thought", "result",
)  # fmt: skip

# Thai to Khmer, kana, Han: words stand without spaces between them.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
UNSPACED, WORD = re.compile(f"[{_UNSPACED}]"), re.compile(r"\w")
_BEGINS, _ENDS = rf"(?<![^\W{_UNSPACED}])", rf"(?![^\W{_UNSPACED}])"

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
_ONE_I = str.maketrans("İı", "ii")  # Turkish upper and lower case differ from those of other languages


def plain(text: str) -> str:
    """`text` without markup, invisible characters and full-width or circled forms; keeps its lines."""
    text = _MARKUP.sub(" ", text) if "<" in text or "\\" in text else text
    text = text.replace("_", " ") if text.isascii() else text.translate(_PLAIN)
    return _SPACES.sub(" ", text).strip()


def folded(text: str) -> str:
    """In lower case, as long as `text`."""
    return text.translate(_ONE_I).lower()


def _read() -> tuple[dict[str, str], dict[str, list[str]]]:
    """The letters of other scripts with those that they stand for, and the words of each kind."""
    letters: dict[str, str] = {}
    words: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for language, entries in read_yaml(_FILE).items():
        letters |= entries.pop("letters", {})
        for kind, texts in entries.items():
            if kind not in words or not all(isinstance(text, str) for text in texts):
                known = ", ".join(("letters", *_KINDS))
                raise ParrotError(f"{_FILE.name}: {language}.{kind}: expected texts (in quotes if YAML takes "
                                  f"one for something else) under one of {known}")  # fmt: skip
            words[kind] += texts
    return letters, words


def _any(texts: Iterable[str]) -> str:
    """A pattern for any of the words, longest first; whole words in scripts that have spaces."""
    longest_first = sorted({folded(plain(text)) for text in texts}, key=len, reverse=True)
    spaced = [re.escape(text) for text in longest_first if WORD.match(text) and not UNSPACED.match(text)]
    unspaced = [re.escape(text) for text in longest_first if UNSPACED.match(text) or not WORD.match(text)]
    if spaced:
        unspaced.append(f"{_BEGINS}(?:{'|'.join(spaced)}){_ENDS}")
    return f"(?:{'|'.join(unspaced) or '(?!)'})"


def _tag(names: Iterable[str]) -> re.Pattern[str]:
    """A tag of one of these names, with whatever attributes; group 1 is the slash of one that closes."""
    forms = "|".join(re.escape(name).replace(r"\ ", "[ _-]?") for name in names)
    return re.compile(rf"[<◁\[](/?)(?:{forms})(?:\s[^<>]{{0,80}})?[>▷\]]", re.IGNORECASE)


LETTERS, _words = _read()
PARTICLES = frozenset(_words["particles"])
FAILURES = tuple(folded(plain(text)) for text in _words["failure"])
THOUGHT, RESULT = _tag(_words["thought"]), _tag(_words["result"])

_is = {kind: _any(texts) for kind, texts in _words.items()}
_answer, _right, _option, _after, _article = (
    _is[kind] for kind in ("answer", "right", "option", "after", "article")
)
_deny, _wrong, _join, _no, _final = (_is[kind] for kind in ("deny", "wrong", "join", "no", "final"))
_between = _any([*_words["link"], *_words["adverb"]])
_suffix = r"(?:'\w{1,5})?"  # Turkish: B'dir
_open = r"[ *\"'(]{0,4}"
_before = rf"(?:{_between}|{_option}|{_article}|{_is['opinion']}|{_answer}|{_is['assert']})"
_one = f"([A-Za-z{''.join(LETTERS)}{''.join(LETTERS).lower()}])"


def _behind(what: str, punctuation: str) -> re.Pattern[str]:
    """What follows an answer of which it says `what`."""
    called = rf"(?:{_between}|{_option}|{_after}|{_article})"
    return re.compile(rf"{_suffix}(?:{punctuation}{called}){{0,8}}{punctuation}{what}")


def _announced() -> re.Pattern[str]:
    lead = r"(?:[^\w.!?;。؟]|\.{2,}){0,12}"
    return re.compile(rf"{_answer}(?:{lead}(?:{_between}|{_option}|{_article}|{_final}))*{lead}\Z")


def _denied() -> re.Pattern[str]:
    bad = rf"(?:(?:{_answer}|{_option}){_open}{_wrong}|{_wrong}{_open}(?:{_answer}|{_option}|[:–—]))"
    lead = r"[ *\"'(:–—]{0,4}"
    return re.compile(rf"(?:{_deny}(?:{_open}{_before})*{_open}|{bad}(?:{lead}{_before})*{lead})\Z")


PREFIXED = re.compile(rf"(?<!\w)({'|'.join(_words['prefix'])})(?=[A-Z](?!\w))")
"""A word (group 1) that is written without a space before a letter."""
LETTER = re.compile(rf"{_BEGINS}(?<!\w['./])(?<!°){_one}{_ENDS}(?![-/]\w|\+|\.[^\W\d_{_UNSPACED}](?!\w))")
"""A letter (group 1) that stands alone as a word, and is no part of an abbreviation or compound."""
ALONE = re.compile(rf"\W*{_one}\W*")
"""A letter (group 1) and nothing but punctuation."""
ANNOUNCED = _announced()
"""What leads from an announcement up to an answer."""
ASSERTED = re.compile(rf"{_is['assert']}(?:{_open}(?:{_between}|{_option}|{_article}))*{_open}\Z")
"""What leads from "it is" up to a letter."""
CONFIRMED = _behind(
    rf"(?:{_answer}|{_right}|{_is['because']})(?: (?:{_answer}|{_right}))*", r"[ *\"')\]»”–—:,(-]{0,4}"
)
"""What follows an answer that is said to be right."""
REJECTED = _behind(_wrong, r"[ *\"')\]»”:(–—-]{0,4}")
"""What follows an answer that is said to be wrong."""
NAMED = re.compile(rf"{_option}(?:\W{{0,4}}{_between})*\W{{0,4}}\Z")
"""What leads from a word such as "option" up to a letter."""
CALLED = re.compile(rf"[ *\"']{{0,3}}{_after}")
"""Such a word behind the letter."""
DENIED = _denied()
"""What leads from a negation up to what it denies."""
JOINED = re.compile(rf"(?:[^\w\n.!?。؟]|{_join}|{_article}|{_option}|'\w{{1,5}})*")
"""All that may stand between two parts of one statement."""
ENUMERATED = re.compile(_join)
"""A word that joins, in what stands between."""
LINKED = re.compile(rf" *(?:{_is['link']}|{_join}|{_wrong}|{_after})")
"""What may follow a letter, and no article."""
RIGHT = re.compile(f"{_answer}|{_right}")
"""A verdict anywhere."""
WRONG = re.compile(f"{_wrong}|{_deny}(?:{_open}{_before})*{_open}(?:{_answer}|{_right})")
BEGINS_YES, BEGINS_NO = re.compile(rf"\W*{_is['yes']}"), re.compile(rf"\W*(?:{_no}|{_wrong})")
CUE = re.compile(f"{_is['retract']}|{_final}")
"""Takes back what came before, or begins a conclusion."""
CORRECTED = re.compile(
    rf"(?:{_is['retract']}|{_no})(?:\W{{0,6}}(?:{_is['retract']}|{_no}|{_before}))*\W{{0,6}}\Z"
)
"""What leads from taking something back up to what replaces it."""
CONCLUDED = re.compile(rf"{_final}(?:\W{{0,6}}{_before})*\W{{0,6}}\Z")
"""What leads from the beginning of a conclusion up to a letter."""
ALSO, OTHERS = re.compile(_is["also"]), re.compile(_is["others"])
