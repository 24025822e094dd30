"""Documents as ids, with the places at which the language model is told what to look at and what to know."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from examples.picture_world.backbones.documents import Document
from parrot.model.chat_text import IGNORE_INDEX, encode_texts

OPTION_LETTERS = "ABCD"
_AT_ONCE = 1000


@dataclass(frozen=True)
class ByLetter:
    """An answer that is the letter of an option. All places are indices into the text."""

    asked: int
    """The place that predicts the letter."""
    letters: list[int]
    ends: list[int]
    """Of each option the last token."""
    right: int
    words: list[list[int]]
    """Of each option its tokens, without those that all options have."""


@dataclass(frozen=True)
class Encoded:
    """A document as ids [text], labels [text] (-100 outside answers), grid [positions, words of each]."""

    language: str
    input_ids: np.ndarray
    labels: np.ndarray
    grid: np.ndarray
    """Padded with the pad token."""
    grounds: list[tuple[int, list[int]]]
    """A place that predicts a token of an answer, and the places of the grid that hold the answer."""
    subjects: list[tuple[int, list[int]]]
    """The same place, and those of the words of the question that name what it asks about."""
    by_letter: list[ByLetter]


def encode_documents(documents: Iterable[Document], tokenizer: PreTrainedTokenizerBase) -> Iterator[Encoded]:
    options, left = Options(tokenizer), iter(documents)
    while some := list(islice(left, _AT_ONCE)):  # all at once would take as much memory as training
        yield from _encode(some, tokenizer, options)


def _encode(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, options: "Options"
) -> Iterator[Encoded]:
    words = sorted({word for document in documents for position in document.positions for word in position})
    ids = dict(zip(words, tokenizer([" " + word for word in words]).input_ids, strict=True))
    encoded = encode_texts(tokenizer, [document.messages for document in documents])
    named = _named(documents, tokenizer)
    for document, (input_ids, labels), names in zip(documents, encoded, named, strict=True):
        rows = [[token for word in position for token in ids[word]] for position in document.positions]
        grid = np.full((len(rows), max(map(len, rows))), tokenizer.pad_token_id, np.int32)
        for place, row in zip(grid, rows, strict=True):
            place[: len(row)] = row
        text = input_ids.tolist()
        first = text.index(tokenizer.image_token_id)
        answers = list(spans((labels != IGNORE_INDEX).tolist()))
        held = [[first + position for position in positions] for positions in document.grounds]
        naming = [
            [answer.start - back for back in backs] for answer, backs in zip(answers, names, strict=True)
        ]
        grounds, subjects = _for_tokens(answers, held), _for_tokens(answers, naming)
        by_letter = [found for answer in answers if (found := options.of(text, answer.start))]
        yield Encoded(document.language, input_ids, labels, grid, grounds, subjects, by_letter)


def _for_tokens(answers: list[slice], marked: list[list[int]]) -> list[tuple[int, list[int]]]:
    """Each place that predicts a token of an answer, but for the one that ends the turn, with what is marked
    for that answer; none where nothing is."""
    return [
        (place, places)
        for answer, places in zip(answers, marked, strict=True)
        if places
        for place in range(answer.start - 1, answer.stop - 2)
    ]


def _named(documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[range]]:
    """Of each document and answer: so many tokens before the answer its question names what it asks about."""
    between = len(tokenizer("<|im_end|>\n<|im_start|>assistant\n").input_ids)
    questions = tokenizer(
        [message["content"] for document in documents for message in document.messages[::2]]
    )
    numbers = count()
    for document in documents:
        backs = []
        for subject in document.subjects:
            number = next(numbers)
            if not subject or subject[0] == subject[1]:
                backs.append(range(0))
                continue
            tokens = len(questions.input_ids[number])
            first, behind = (questions.char_to_token(number, at) for at in subject)
            end = tokens + between
            backs.append(range(end - (behind or tokens) + 1, end - first + 1))
        yield backs


class Options:
    """Finds the options of a question in its ids: lines that begin `A.`, `B.` and so on."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._letters = [tokenizer(letter).input_ids[0] for letter in OPTION_LETTERS]
        self._dot = tokenizer("A.").input_ids[-1]
        self._end, self._line = tokenizer.eos_token_id, tokenizer("\n").input_ids[0]
        self._turn = tokenizer("<|im_start|>").input_ids[0]

    def of(self, text: list[int], answer: int) -> ByLetter | None:
        """Of the question whose answer begins at `answer`; None if that is not one letter."""
        if text[answer] not in self._letters or text[answer + 1] != self._end:
            return None
        start = answer
        for _ in range(2):  # the assistant's turn, then the user's
            start -= 1
            while text[start] != self._turn:
                start -= 1
        begins = [
            place
            for place in range(start, answer - 1)
            if text[place] in self._letters and text[place + 1] == self._dot
        ]
        listed = []
        for begin in begins:
            end = begin + 2
            while text[end] not in (self._end, self._line):
                end += 1
            listed.append(text[begin + 2 : end])
        right = [text[begin] for begin in begins].index(text[answer])
        shared = Counter(token for option in listed for token in set(option))
        words = [[token for token in option if shared[token] < len(listed)] or option for option in listed]
        ends = [begin + 1 + len(option) for begin, option in zip(begins, listed, strict=True)]
        return ByLetter(answer - 1, begins, ends, right, words)


def spans(flags: list[bool]) -> Iterator[slice]:
    """The runs of True."""
    start = None
    for i, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = i
        elif not flag and start is not None:
            yield slice(start, i)
            start = None


class DocumentCollator:
    """Batches of documents, as `GridReader` takes them."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad = pad_token_id

    def __call__(self, documents: list[Encoded]) -> dict[str, Tensor]:
        input_ids = [torch.from_numpy(document.input_ids) for document in documents]
        labels = [torch.from_numpy(document.labels) for document in documents]
        positions = len(documents[0].grid)
        widest = max(document.grid.shape[1] for document in documents)
        grid_ids = torch.full((len(documents), positions, widest), self._pad)
        for row, document in enumerate(documents):
            grid_ids[row, :, : document.grid.shape[1]] = torch.from_numpy(document.grid)
        text = max(map(len, input_ids))
        grounds = [(row, *ground) for row, document in enumerate(documents) for ground in document.grounds]
        subjects = [(row, *named) for row, document in enumerate(documents) for named in document.subjects]
        asked = [(row, turn) for row, document in enumerate(documents) for turn in document.by_letter]
        ends = [(row, turn, i) for row, turn in asked for i in range(len(turn.ends))]
        return {
            "input_ids": pad_sequence(input_ids, batch_first=True, padding_value=self._pad).long(),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORE_INDEX).long(),
            "grid_ids": grid_ids,
            "answer_places": _places((row, place) for row, place, _ in grounds),
            "answer_grounds": _marked([held for *_, held in grounds], text),
            "named_places": _places((row, place) for row, place, _ in subjects),
            "named_subjects": _marked([named for *_, named in subjects], text),
            "letter_places": _places((row, turn.asked) for row, turn in asked),
            "letter_options": _marked([[turn.ends[turn.right]] for _, turn in asked], text),
            "letter_words": _filled([turn.words[turn.right] for _, turn in asked]),
            "option_places": _places((row, turn.ends[i]) for row, turn, i in ends),
            "option_words": _filled([turn.words[i] for _, turn, i in ends]),
            "option_letters": torch.tensor(
                [int(documents[row].input_ids[turn.letters[i]]) for row, turn, i in ends], dtype=torch.long
            ),
        }


def _places(places: Iterable[tuple[int, int]]) -> Tensor:
    """[places, 2]: row and place in the text."""
    return torch.tensor(list(places), dtype=torch.long).reshape(-1, 2)


def _marked(places: list[list[int]], text: int) -> Tensor:
    """[lists, text], True at the places of each list."""
    marked = torch.zeros(len(places), text, dtype=torch.bool)
    rows = [row for row, marks in enumerate(places) for _ in marks]
    marked[rows, list(chain.from_iterable(places))] = True
    return marked


def _filled(lists: list[list[int]]) -> Tensor:
    """[lists, longest], filled with -100."""
    filled = torch.full((len(lists), max(map(len, lists), default=0)), IGNORE_INDEX)
    for row, tokens in zip(filled, lists, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    return filled
