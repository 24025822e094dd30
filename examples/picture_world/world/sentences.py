"""Questions, options, captions and conversations in words."""

import re
from dataclasses import dataclass, replace
from random import Random
from string import Formatter

from examples.picture_world.world.languages import LANGUAGES, TRAINED_WORDINGS, Language
from examples.picture_world.world.questions import OPTION_LETTERS, Question, draw_options, draw_questions
from examples.picture_world.world.scene import NUMBERS, Scene

MAX_TURNS = 5
_PLACEHOLDER = "<image>"
_SUBJECTS = (
    "noun", "the_noun", "of_noun", "in_noun", "on_noun", "to_noun", "nouns", "the_nouns", "of_nouns",
    "counted_noun", "place", "colour",
)  # fmt: skip
"""What a template names the thing by that it asks about."""

_WORD = re.compile(r"(?<=\s)[^\s\u4e00-\u9fff]+|[\u4e00-\u9fff]")
"""Behind a space, with what punctuation follows it, so that no ending or comma leaves what the question is
about; in Chinese one character."""

Turn = dict[str, str]


@dataclass(frozen=True, slots=True)
class WordedQuestion:
    """A question in words."""

    text: str
    subject: tuple[int, int]
    """From which character to which it names what it asks about; nowhere if it names nothing."""


def ask(code: str, question: Question, shuffle: Random | None = None) -> WordedQuestion:
    """The question as a sentence of the language `code`; with `shuffle` its words in another order.

    Words are shuffled within what stands before, between and behind the words that it is about, which stay
    where they are.
    """
    language = LANGUAGES[code]
    words = _words(language, question)
    wordings = language.QUESTIONS[question.detail if question.category == "chart" else question.category]
    text, subject = "", None
    for fixed, field, *_ in Formatter().parse(f" {wordings[question.wording]}"):
        text = (text + (_shuffled(fixed, shuffle) if shuffle else fixed)).lstrip()
        if field in _SUBJECTS and subject is None:
            subject = len(text), len(text) + len(words[field])
        text += words[field] if field else ""
    return WordedQuestion(language.capital(text), subject or (0, 0))


def _shuffled(text: str, rng: Random) -> str:
    words = _WORD.findall(text)
    rng.shuffle(words)
    order = iter(words)
    return _WORD.sub(lambda _: next(order), text)


def _words(language: Language, question: Question) -> dict[str, str]:
    """What the question's wordings are filled with."""
    words: dict[str, str] = {}
    if question.noun:
        words |= language.forms(question.noun)
    if question.other:
        words |= _of_other(language.forms(question.other))
    if question.category == "object":
        words["place"] = language.PLACES[question.detail]
    if question.category == "binding":
        words["colour"] = language.colour(question.detail, question.noun)
    return words


def _of_other(forms: dict[str, str]) -> dict[str, str]:
    """`{of_other_noun}` is to the second noun what `{of_noun}` is to the first."""
    return {key.replace("noun", "other_noun"): word for key, word in forms.items()}


def option_text(code: str, question: Question, value: str) -> str:
    """The value as an answer to the question: the bare phrase that a speaker would say."""
    language = LANGUAGES[code]
    match question.category:
        case "colour" | "chart":
            return language.colour(value, question.noun)
        case "object" | "shape" | "binding":
            return language.name(value)
        case "size":
            return language.size(value, question.noun)
        case "count":
            return language.number(NUMBERS.index(value) + 1, question.noun)
        case "position":
            return language.PLACES[value]
        case "digit" | "letter":
            return value
        case category:
            return language.ANSWERS[category][value]


def caption(code: str, scene: Scene) -> str:
    """Every fact of the scene in sentences."""
    language = LANGUAGES[code]
    sentences = [language.capital(sentence) for sentence in _sentences(language, scene)]
    return (language.STOP.join(sentences) + language.STOP).strip()


def _sentences(language: Language, scene: Scene) -> list[str]:
    templates = language.SENTENCES
    if scene.bars:
        colours = [language.colour(bar.colour, "bar") for bar in scene.bars]
        tallest = max(scene.bars, key=lambda bar: bar.height)
        shortest = min(scene.bars, key=lambda bar: bar.height)
        extremes = {
            "tallest": language.colour(tallest.colour, "bar"),
            "shortest": language.colour(shortest.colour, "bar"),
        }
        return [
            templates["chart"].format(colours=language.listing(colours)),
            templates["extremes"].format(**extremes),
        ]
    sentences = [templates["scene"].format(scene=language.ANSWERS["scene"][scene.background])]
    group = scene.group
    if len(group) > 1:
        sentences.append(templates["group"].format(items=language.counted(group[0], len(group))))
    for item in scene.items:
        if item not in group:
            described = language.describe(item)
        elif len(group) == 1:
            described = language.counted(item, 1)
        else:
            continue
        sentences.append(templates["item"].format(place=language.PLACES[item.place], item=described))
    return sentences


def captioning(code: str, scene: Scene, rng: Random) -> list[Turn]:
    """A request for a caption, and the caption, in LLaVA's form."""
    return _turn(rng.choice(LANGUAGES[code].PROMPTS), caption(code, scene))


def conversation(
    code: str, scene: Scene, rng: Random, *, caption_share: float, by_letter: float, shuffled: float = 0.0
) -> tuple[list[Turn], list[tuple[Question, WordedQuestion]]]:
    """Up to five questions and answers, and which questions these are, with what they ask in words.

    In `caption_share` of the cases the last turn asks for a caption, which is none of them; `by_letter` is
    the share of questions that show options and are answered by the letter of one, `shuffled` the share of
    all questions whose words come in another order, so that no wording is learned by heart.
    """
    captioned = rng.random() < caption_share
    drawn = [
        replace(question, wording=rng.randrange(TRAINED_WORDINGS))
        for question in draw_questions(rng, scene, MAX_TURNS - captioned)
    ]
    asked = [ask(code, question, rng if rng.random() < shuffled else None) for question in drawn]
    turns: list[Turn] = []
    for question, in_words in zip(drawn, asked, strict=True):
        if rng.random() < by_letter:
            turns += _by_letter(code, question, in_words.text, rng)
        else:
            turns += _turn(in_words.text, option_text(code, question, question.answer))
    if captioned:
        turns += captioning(code, scene, rng)
    return turns, list(zip(drawn, asked, strict=True))


def _by_letter(code: str, question: Question, asked: str, rng: Random) -> list[Turn]:
    """What is `asked` with two to four options, as MMMB puts it or in words much like it."""
    count = rng.choices((2, 3, 4), (1, 1, 6))[0]
    values = draw_options(rng, question, rng.randrange(count), count)
    options = [f"{letter}. {option_text(code, question, value)}"
               for letter, value in zip(OPTION_LETTERS, values, strict=False)]  # fmt: skip
    mmmb, *others = LANGUAGES[code].CLOSINGS
    closing = rng.choices([[mmmb], [rng.choice(others)], []], (6, 2, 2))[0]
    return _turn("\n".join([asked, *options, *closing]), OPTION_LETTERS[values.index(question.answer)])


def with_image(turns: list[Turn], rng: Random, *, anywhere: bool = False) -> list[Turn]:
    """Put the image's placeholder before (or, as LLaVA does in stage one, before or after) the first turn."""
    first = turns[0]["value"]
    after = anywhere and rng.random() < 0.5
    value = f"{first}\n{_PLACEHOLDER}" if after else f"{_PLACEHOLDER}\n{first}"
    return [{"from": "human", "value": value}, *turns[1:]]


def _turn(asked: str, answered: str) -> list[Turn]:
    return [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
