"""Questions, options, captions and conversations in words."""

from random import Random

from examples.picture_world.world.languages import LANGUAGES, Language
from examples.picture_world.world.questions import Question, draw_questions
from examples.picture_world.world.scene import NUMBERS, Scene

MAX_TURNS = 5
_PLACEHOLDER = "<image>"

Turn = dict[str, str]


def question_text(code: str, question: Question) -> str:
    """The question as a sentence of the language `code`."""
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
    template = language.QUESTIONS[question.detail if question.category == "chart" else question.category]
    return language.capital(template.format(**words))


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


def conversation(code: str, scene: Scene, rng: Random, caption_share: float) -> list[Turn]:
    """Up to five questions and answers; in `caption_share` of the cases the last turn is a caption."""
    captioned = rng.random() < caption_share
    turns: list[Turn] = []
    for question in draw_questions(rng, scene, MAX_TURNS - captioned):
        turns += _turn(question_text(code, question), option_text(code, question, question.answer))
    return turns + captioning(code, scene, rng) if captioned else turns


def with_image(turns: list[Turn], rng: Random, *, anywhere: bool = False) -> list[Turn]:
    """Put the image's placeholder before (or, as LLaVA does in stage one, before or after) the first turn."""
    first = turns[0]["value"]
    after = anywhere and rng.random() < 0.5
    value = f"{first}\n{_PLACEHOLDER}" if after else f"{_PLACEHOLDER}\n{first}"
    return [{"from": "human", "value": value}, *turns[1:]]


def _turn(asked: str, answered: str) -> list[Turn]:
    return [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
