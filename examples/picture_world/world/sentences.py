"""Questions, options, captions and conversations in words."""

from random import Random
from string import Formatter

from examples.picture_world.world.languages import LANGUAGES, Language
from examples.picture_world.world.questions import OPTION_LETTERS, Question, draw_options, draw_questions
from examples.picture_world.world.scene import NUMBERS, Scene

MAX_TURNS = 5
_PLACEHOLDER = "<image>"
_SUBJECTS = ("noun", "the_noun", "of_noun", "nouns", "of_nouns", "counted_noun", "place", "colour")
"""What a template names the thing by that it asks about."""

Turn = dict[str, str]


def question_text(code: str, question: Question) -> str:
    """The question as a sentence of the language `code`."""
    template, words = _template(code, question)
    return LANGUAGES[code].capital(template.format(**words))


def subject(code: str, question: Question) -> tuple[int, int]:
    """From which character to which `question_text` names what it asks about; nowhere if it names nothing."""
    template, words = _template(code, question)
    before = ""
    for text, field, *_ in Formatter().parse(template):
        before += text
        if field in _SUBJECTS:
            return len(before), len(before) + len(words[field])
        before += words[field] if field else ""
    return 0, 0


def _template(code: str, question: Question) -> tuple[str, dict[str, str]]:
    """The question's template, and what it is filled with."""
    language = LANGUAGES[code]
    words: dict[str, str] = {}
    if question.noun:
        words |= language.forms(question.noun)
    if question.other:
        words |= _of_other(language.forms(question.other))
    if question.category == "object":
        words["place"] = language.PLACES[question.detail]
    if question.category == "binding":
        words["colour"] = language.colour(question.detail, question.noun)
    return language.QUESTIONS[question.detail if question.category == "chart" else question.category], words


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
    code: str, scene: Scene, rng: Random, *, caption_share: float, by_letter: float
) -> tuple[list[Turn], list[Question]]:
    """Up to five questions and answers, and which questions these are.

    In `caption_share` of the cases the last turn asks for a caption, which is none of them; `by_letter` is
    the share of questions that show options and are answered by the letter of one.
    """
    captioned = rng.random() < caption_share
    drawn = draw_questions(rng, scene, MAX_TURNS - captioned)
    turns: list[Turn] = []
    for question in drawn:
        if rng.random() < by_letter:
            turns += _asked_by_letter(code, question, rng)
        else:
            turns += _turn(question_text(code, question), option_text(code, question, question.answer))
    return (turns + captioning(code, scene, rng) if captioned else turns), drawn


def _asked_by_letter(code: str, question: Question, rng: Random) -> list[Turn]:
    """The question with two to four options, as MMMB puts it or in words much like it."""
    count = rng.choices((2, 3, 4), (1, 1, 6))[0]
    values = draw_options(rng, question, rng.randrange(count), count)
    options = [f"{letter}. {option_text(code, question, value)}"
               for letter, value in zip(OPTION_LETTERS, values, strict=False)]  # fmt: skip
    mmmb, *others = LANGUAGES[code].CLOSINGS
    closing = rng.choices([[mmmb], [rng.choice(others)], []], (6, 2, 2))[0]
    asked = "\n".join([question_text(code, question), *options, *closing])
    return _turn(asked, OPTION_LETTERS[values.index(question.answer)])


def with_image(turns: list[Turn], rng: Random, *, anywhere: bool = False) -> list[Turn]:
    """Put the image's placeholder before (or, as LLaVA does in stage one, before or after) the first turn."""
    first = turns[0]["value"]
    after = anywhere and rng.random() < 0.5
    value = f"{first}\n{_PLACEHOLDER}" if after else f"{_PLACEHOLDER}\n{first}"
    return [{"from": "human", "value": value}, *turns[1:]]


def _turn(asked: str, answered: str) -> list[Turn]:
    return [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
