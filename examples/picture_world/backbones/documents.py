"""Reading documents: grids of words, and conversations about them whose answers say where they were found."""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TextIO

from transformers.utils.chat_template_utils import render_jinja_template

from examples.picture_world.backbones.regions import Region, parse_regions, patches_of
from examples.picture_world.backbones.train_tokenizer import IMAGE
from parrot.errors import ParrotError
from parrot.model.chat_format import CHAT_TEMPLATE

KEEP = 0.8
"""Share of the patches of a region whose words are kept: the tower will not be perfect either."""
ROLES = {"human": "user", "gpt": "assistant"}


@dataclass(frozen=True)
class Document:
    """A grid of words and the conversation about it."""

    language: str
    positions: list[list[str]]
    messages: list[dict[str, str]]
    grounds: list[list[int]]
    """Of each answer the positions that hold it; of a caption none."""
    subjects: list[list[int]]
    """Of each answer from which character to which its question names what it asks about; or nothing."""


def count_documents(file: Path) -> int:
    """The lines of the file.

    Raises:
        ParrotError: it is missing.
    """
    with _opened(file) as lines:
        return sum(1 for _ in lines)


def read_documents(file: Path, grid: int, seed: int, lines: range) -> Iterator[Document]:
    """The documents of a JSON-lines file; the grid stands at the start of the first user turn.

    Args:
        lines: which of them, from 0.

    Raises:
        ParrotError: the file is missing, or a line is no such document; names file and line.
    """
    with _opened(file) as opened:
        for number, line in islice(enumerate(opened, start=1), lines.start, lines.stop):
            where = f"{file}: line {number}"
            try:
                item = json.loads(line)
                turns = [(ROLES[turn["from"]], turn["value"]) for turn in item["conversations"]]
                identity, language, entries = item["id"], item["language"], item["regions"]
                regions = parse_regions(entries, where)
                positions, places = thinned(regions, grid, random.Random(f"{seed}-{identity}"))
                grounds = [[place for i in held for place in places[i]] for held in item["grounding"]]
                subjects = [list(map(int, subject)) for subject in item["subjects"]]
            except (json.JSONDecodeError, KeyError, TypeError, IndexError) as error:
                raise ParrotError(
                    f"{where}: not a reading document ({type(error).__name__}: {error})"
                ) from None
            answers = sum(role == "assistant" for role, _ in turns)
            if not len(grounds) == len(subjects) == answers:
                raise ParrotError(
                    f"{where}: grounding and subjects need an entry for each of {answers} answers"
                )
            messages = [{"role": role, "content": text} for role, text in turns]
            grid_text = IMAGE * len(positions) + "\n"
            messages[0]["content"] = grid_text + messages[0]["content"]
            subjects[0] = [character + len(grid_text) for character in subjects[0]]
            yield Document(language, positions, messages, grounds, subjects)


def _opened(file: Path) -> TextIO:
    try:
        return file.open(encoding="utf-8")
    except FileNotFoundError:
        raise ParrotError(f"{file}: missing; `parrot data` fetches or makes it") from None


def thinned(regions: list[Region], grid: int, draw: random.Random) -> tuple[list[list[str]], list[list[int]]]:
    """The words of each position, and the positions of each region.

    The first region is at position 0, the others at the patches that they cover: at `KEEP` of them, but never
    at none.
    """
    words: list[list[str]] = [list(regions[0].words)] + [[] for _ in range(grid * grid)]
    places = [[0]]
    for region in regions[1:]:
        patches = patches_of(region, regions[0], grid)
        chosen = [patch for patch in patches if draw.random() < KEEP] or draw.sample(patches, 1)
        for patch in chosen:
            words[1 + patch].extend(region.words)
        places.append([1 + patch for patch in chosen])
    return [position or ["."] for position in words], places


def texts(documents: Iterable[Document]) -> Iterator[str]:
    """What the tokenizer is trained on: conversations as the model sees them, and the words of the grids."""
    for document in documents:
        frame = _frame(tuple(message["role"] for message in document.messages))
        contents = [message["content"] for message in document.messages]
        yield "".join(part for pair in zip(frame, [*contents, ""], strict=True) for part in pair)
        yield " " + " ".join(word for words in document.positions for word in words)


@cache
def _frame(roles: tuple[str, ...]) -> list[str]:
    """What the chat template writes around the contents of messages with these roles."""
    messages = [{"role": role, "content": "\0"} for role in roles]
    rendered, _ = render_jinja_template(conversations=[messages], chat_template=CHAT_TEMPLATE)
    return str(rendered[0]).split("\0")
