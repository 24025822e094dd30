"""A benchmark of flat pictures whose brightness is the answer, and a model that reads it."""

import base64
import csv
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image

from parrot.config import Speed
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion

WORDS = {"en": ["red", "blue", "green", "white"], "zh": ["红色", "蓝色的", "绿", "白"]}
ASKED = {"en": "What colour is the {}?", "zh": "{}是什么颜色？"}
LANGUAGES = list(WORDS)
CATEGORIES = ("colour", "binding")


def speed(batch_size: int = 5, processes: int = 1) -> Speed:
    return Speed(workers=0, inference_batch_size=batch_size, inference_processes=processes)


def picture(level: int) -> bytes:
    """A flat picture of brightness 50 × level."""
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (50 * level,) * 3).save(file, format="PNG")
    return file.getvalue()


def make_questions(language: str, count: int = 32) -> list[MultipleChoiceQuestion]:
    """Questions of two categories and several lengths; the answers go evenly through the letters."""
    questions = []
    for number in range(count):
        level, words = number % 4, WORDS[language]
        turned = [words[(level - number // 4 + place) % 4] for place in range(4)]
        questions.append(
            MultipleChoiceQuestion(
                index=100 - number,
                language=language,
                question=ASKED[language].format("very " * (number % 5) + "thing"),
                hint="Look." if number % 3 == 0 else "",
                options=dict(zip("ABCD", turned, strict=True)),
                answer="ABCD"[turned.index(words[level])],
                category=CATEGORIES[number // 16 % 2],
                split="test",
                image=picture(level),
            )
        )
    return questions


def write_tsv(path: Path, questions: list[MultipleChoiceQuestion]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["index", "question", "hint", *"ABCD", "answer", "category", "split", "image"])
        for q in questions:
            options = [q.options.get(letter, "") for letter in "ABCD"]
            image = base64.b64encode(q.image).decode()
            writer.writerow([q.index, q.question, q.hint, *options, q.answer, q.category, q.split, image])


class Rows:
    """A cache that only knows which prompt each of its rows belongs to."""

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self.indices = indices


class Reader:
    """Says the word that stands for a picture's brightness; finds all words equal if it sees none.

    Called as transformers' models are; `seen` keeps the inputs of each call.
    """

    device = torch.device("cpu")

    def __init__(self, processor: Any, experts: int = 0) -> None:
        first = [[processor.tokenizer(word).input_ids[0] for word in words] for words in WORDS.values()]
        self.first_tokens = torch.tensor(first).T  # [level, language]
        assert self.first_tokens.unique().numel() == self.first_tokens.numel()
        self.vocab_size, self.experts = len(processor.tokenizer), experts
        self.seen: list[dict[str, Any]] = []

    def __call__(self, **inputs: Any) -> Any:
        self.seen.append(inputs)
        pixels = inputs.get("pixel_values")
        length = inputs.get("logits_to_keep") or inputs["input_ids"].shape[1]
        logits = torch.zeros(len(inputs["input_ids"]), length, self.vocab_size)
        routing = None
        if pixels is not None:
            levels = ((pixels.mean((1, 2, 3)) * 0.5 + 0.5) * 255 / 50).round().long()
            logits[:, -1].scatter_(1, self.first_tokens[levels], 10.0)
            if self.experts:
                routing = torch.eye(self.experts)[levels % self.experts]
        return SimpleNamespace(logits=logits, past_key_values=Rows(), routing_weights=routing)
