"""What a language model learns letters from: look-ups, and documents whose questions show options."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from examples.picture_world.backbones.regions import parse_regions
from examples.picture_world.backbones.train_language import (
    Document,
    Encoded,
    encode_documents,
    spans,
    thinned,
)
from examples.picture_world.backbones.train_tokenizer import IMAGE
from examples.picture_world.world.languages import LANGUAGES
from examples.picture_world.world.phrases import regions
from examples.picture_world.world.questions import draw_options, draw_questions
from examples.picture_world.world.scene import draw_scene
from examples.picture_world.world.sentences import option_text, question_text
from parrot.model.chat_text import IGNORE_INDEX

LETTERS = "ABCD"
TURNS, ASKED = 4, 4
"""At most, of a document; of a look-up."""
GRID = 4


@dataclass(frozen=True)
class Options:
    """Of one turn."""

    texts: tuple[str, ...]
    right: int


@dataclass(frozen=True)
class Lettered:
    """Ids, and `known` [text]: where a letter is asked the token that tells its answer, else -100."""

    encoded: Encoded
    known: np.ndarray


def documents(count: int, name: str, by_letter: float) -> Iterator[tuple[Document, list[Options | None]]]:
    """Documents, and for each turn its options if it is asked by letter."""
    for number in range(count):
        draw = random.Random(f"{name} {number}")
        language = list(LANGUAGES)[number % len(LANGUAGES)]
        scene = draw_scene(draw, held_back=True)
        grid = thinned(parse_regions(regions(scene), name), GRID, draw)
        messages, shown = [], list[Options | None]()
        for question in draw_questions(draw, scene, TURNS):
            asked = question_text(language, question)
            answer = option_text(language, question, question.answer)
            if draw.random() < by_letter:
                values = draw_options(draw, question, draw.randrange(len(LETTERS)))
                texts = tuple(option_text(language, question, value) for value in values)
                shown.append(Options(texts, values.index(question.answer)))
                lines = (f"{letter}. {text}" for letter, text in zip(LETTERS, texts, strict=False))
                asked, answer = "\n".join([asked, *lines]), LETTERS[values.index(question.answer)]
            else:
                shown.append(None)
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        messages[0]["content"] = IMAGE * len(grid) + "\n" + messages[0]["content"]
        yield Document(language, grid, messages), shown


class Words:
    """The options of all documents as ids, and of each the token by which it is told from the others."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> None:
        self.ids = dict(zip(texts, tokenizer([f" {text}" for text in texts]).input_ids, strict=True))
        others = Counter(token for ids in self.ids.values() for token in set(ids))
        self.key = {
            text: min(reversed(ids), key=lambda token: others[token]) for text, ids in self.ids.items()
        }
        self.different = list({key: text for text, key in self.key.items()}.values())
        self.letters = [tokenizer(letter).input_ids[0] for letter in LETTERS]
        self.stop, self.line = tokenizer("A.").input_ids[-1], tokenizer("\n").input_ids
        self.user, self.assistant = (
            tokenizer(f"<|im_start|>{role}\n").input_ids for role in ("user", "assistant")
        )
        self.end = tokenizer("<|im_end|>\n").input_ids

    def listed(self, texts: Sequence[str]) -> list[int]:
        ids: list[int] = []
        for letter, text in zip(self.letters, texts, strict=True):
            ids += [letter, self.stop, *self.ids[text], *self.line]
        return ids


def look_up(words: Words, draw: random.Random) -> Lettered:
    """Options, then words of theirs, each followed by its letter."""
    texts = draw.sample(words.different, len(LETTERS))
    ids = words.listed(texts)
    asked = {}
    for _ in range(ASKED):
        right = draw.randrange(len(texts))
        ids.append(words.key[texts[right]])
        asked[len(ids)] = texts[right]
        ids.append(words.letters[right])
    return _lettered(words, ids, asked)


def unnamed(words: Words, draw: random.Random) -> Lettered:
    """Two chat turns of options some of which are the same, and nothing that names the right ones."""
    some = draw.sample(words.different, len(LETTERS) + 2)
    ids: list[int] = []
    asked = {}
    for _ in range(2):
        texts = draw.sample(some, len(LETTERS))
        right = draw.randrange(len(texts))
        ids += [*words.user, *words.listed(texts)[: -len(words.line)], *words.end, *words.assistant]
        asked[len(ids)] = texts[right]
        ids += [words.letters[right], *words.end]
    return _lettered(words, ids, asked)


def _lettered(words: Words, ids: list[int], asked: Mapping[int, str]) -> Lettered:
    labels, known = np.full(len(ids), IGNORE_INDEX), np.full(len(ids), IGNORE_INDEX)
    for place, text in asked.items():
        labels[place], known[place] = ids[place], words.key[text]
    return Lettered(Encoded("", np.array(ids), labels, np.zeros((1, 1), dtype=np.int64)), known)


def lettered(
    made: Sequence[tuple[Document, list[Options | None]]], tokenizer: PreTrainedTokenizerBase, words: Words
) -> list[Lettered]:
    found = []
    for encoded, (_, shown) in zip(encode_documents([one for one, _ in made], tokenizer), made, strict=True):
        known = np.full_like(encoded.labels, IGNORE_INDEX)
        answers = spans((encoded.labels != IGNORE_INDEX).tolist())
        for answer, options in zip(answers, shown, strict=True):
            if options:
                known[answer.start] = words.key[options.texts[options.right]]
        found.append(Lettered(encoded, known))
    return found
