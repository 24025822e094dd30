"""Batched scoring: how likely a model finds each answer to a question about a picture.

The answers to one question share its prompt, so the prompt is computed once and its cache is
copied for each answer. A multilingual mixture of experts thereby sees the prompt alone, as in
training: it routes when the prompt is computed, before any answer is there.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import pad_sequence

from parrot.data.images import decode
from parrot.data.sources.mmmb import Question
from parrot.errors import ParrotError
from parrot.evaluation.predictions import Answer, Prediction
from parrot.evaluation.prompts import Protocol

TIE = 1e-5
"""Scores (nats) closer than this are equal: their rounding differs with the shape of the batch."""


@dataclass(frozen=True)
class Run:
    """One pass over all questions: which prompt, with which picture."""

    name: str
    protocol: Protocol
    picture: Literal["own", "removed", "swapped"]


@dataclass(frozen=True)
class Pictures:
    """Preprocessed pictures, one for each question of a batch."""

    tensors: dict[str, torch.Tensor]
    """What the vision tower reads, such as pixel_values [batch, 3, height, width]."""
    positions: list[int]
    """How many positions of its prompt each picture takes."""


def predict(
    model: Any,
    processor: Any,
    questions: Sequence[Question],
    language: str,
    runs: Sequence[Run],
    *,
    batch_size: int,
    seed: int,
) -> Iterator[list[Prediction]]:
    """Answer `questions` in every run; yield batches, the longest questions first.

    A picture is decoded and preprocessed once for all runs that show it beside its own question.

    Raises:
        ParrotError: a picture cannot be read, or the model's scores are not finite.
    """
    others = {}
    if any(run.picture == "swapped" for run in runs):
        others = swapped([question.image for question in questions], seed)
    order = sorted(questions, key=_length, reverse=True)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        shown: dict[str, Pictures | None] = {
            "own": load_pictures(processor, batch, [question.image for question in batch]),
            "removed": None,
        }
        if others:
            shown["swapped"] = load_pictures(processor, batch, [others[question.image] for question in batch])
        answers: list[dict[str, Answer]] = [{} for _ in batch]
        routings = []
        for run in runs:
            pictures = shown[run.picture]
            scores, routing = _score_batch(model, processor, batch, language, run.protocol, pictures)
            routings.append([None] * len(batch) if routing is None else routing.tolist())
            for found, row in zip(answers, scores, strict=True):
                found[run.name] = choose(row)
        yield [
            Prediction(question, language, found, routing)
            for question, found, routing in zip(batch, answers, routings[0], strict=True)
        ]


def _score_batch(
    model: Any,
    processor: Any,
    batch: Sequence[Question],
    language: str,
    protocol: Protocol,
    pictures: Pictures | None,
) -> tuple[list[dict[str, float]], torch.Tensor | None]:
    """Letter -> score for each question, and the experts' weights."""
    asked = [protocol.ask(question, language, picture=pictures is not None) for question in batch]
    answers = [protocol.answers(question) for question in batch]
    tokenizer = processor.tokenizer
    end = [tokenizer.eos_token_id] if protocol.ends_turn else []
    texts = [text for options in answers for text in options.values()]
    encoded = iter(tokenizer(texts, add_special_tokens=False).input_ids)
    candidates = [[next(encoded) + end for _ in options] for options in answers]
    scores, routing = log_likelihoods(model, encode_prompts(processor, asked, pictures), candidates)
    for question, row in zip(batch, scores, strict=True):
        if not all(math.isfinite(score) for score in row):
            raise ParrotError(
                f"question {question.index} in '{language}': the model's scores are not finite; "
                f"its training has diverged"
            )
    named = [dict(zip(options, row, strict=True)) for options, row in zip(answers, scores, strict=True)]
    return named, routing


def load_pictures(processor: Any, batch: Sequence[Question], images: Sequence[bytes]) -> Pictures:
    """Decode and preprocess one picture for each question."""
    decoded = []
    for question, image in zip(batch, images, strict=True):
        try:
            decoded.append(decode(image))
        except ParrotError as error:
            raise ParrotError(f"question {question.index}, column 'image': {error}") from None
    inputs = processor(
        text=[processor.image_token] * len(decoded), images=decoded, padding=True, return_tensors="pt"
    )
    positions = (inputs["input_ids"] == processor.image_token_id).sum(-1).tolist()
    text = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}
    return Pictures({name: value for name, value in inputs.items() if name not in text}, positions)


def encode_prompts(
    processor: Any, asked: Sequence[str], pictures: Pictures | None
) -> dict[str, torch.Tensor]:
    """The model's inputs up to where the assistant's answer begins, padded on the left.

    Args:
        asked: the user's turns, [batch]; each holds one `<image>` if there are pictures, else none.
    """
    tokenizer = processor.tokenizer
    conversations = [[{"role": "user", "content": text}] for text in asked]
    prompts = processor.apply_chat_template(conversations, add_generation_prompt=True)
    positions = pictures.positions if pictures else [0] * len(prompts)
    expected = 1 if pictures else 0
    for number, (prompt, count) in enumerate(zip(prompts, positions, strict=True)):
        if prompt.count(processor.image_token) != expected:
            raise ParrotError(
                f"a question's text holds {processor.image_token}, which stands for its picture; "
                f"take it out: {asked[number]!r}"
            )
        prompts[number] = prompt.replace(processor.image_token, processor.image_token * count)
    starts = tokenizer.bos_token is not None and prompts[0].startswith(tokenizer.bos_token)
    inputs = tokenizer(
        prompts, add_special_tokens=not starts, padding=True, padding_side="left", return_tensors="pt"
    )
    return {
        "input_ids": inputs["input_ids"],
        "attention_mask": inputs["attention_mask"],
        **(pictures.tensors if pictures else {}),
    }


@torch.inference_mode()
def log_likelihoods(
    model: Any, prompts: dict[str, torch.Tensor], candidates: Sequence[Sequence[list[int]]]
) -> tuple[list[list[float]], torch.Tensor | None]:
    """log p(candidate | prompt), in nats, summed over the candidate's tokens.

    Args:
        prompts: input_ids and attention_mask [batch, length], padded on the left, and the pictures.
        candidates: for each prompt the token ids of its possible answers.

    Returns:
        One list of scores for each prompt, and the experts' weights [batch, experts] if the model
        has experts and was shown pictures.
    """
    device = model.device
    prompts = {name: value.to(device) for name, value in prompts.items()}
    mask = prompts["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    outputs = model(**prompts, position_ids=positions, use_cache=True, logits_to_keep=1)

    rows = torch.tensor([row for row, answers in enumerate(candidates) for _ in answers], device=device)
    answers = [torch.tensor(ids, device=device) for row in candidates for ids in row]
    targets = pad_sequence(answers, batch_first=True, padding_value=-1)  # [answers, tokens]
    given = targets >= 0
    targets = targets.clamp(min=0)
    logits = outputs.logits[rows]  # of each answer's first token
    if targets.shape[1] > 1:
        past = outputs.past_key_values
        past.batch_select_indices(rows)
        following = model(
            input_ids=targets[:, :-1],
            attention_mask=torch.cat([mask[rows], given[:, :-1].to(mask.dtype)], dim=1),
            position_ids=positions[rows, -1:] + 1 + torch.arange(targets.shape[1] - 1, device=device),
            past_key_values=past,
        )
        logits = torch.cat([logits, following.logits], dim=1)
    logits = logits.float()
    of_tokens = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
    sums = iter(of_tokens.masked_fill(~given, 0.0).sum(-1).tolist())
    scores = [[next(sums) for _ in answers] for answers in candidates]
    routing = getattr(outputs, "routing_weights", None)
    return scores, None if routing is None else routing.float().cpu()


def choose(scores: dict[str, float]) -> Answer:
    """The most likely letter; the first of those that are equally likely."""
    best = max(scores.values())
    return Answer(next(letter for letter, score in scores.items() if score >= best - TIE), scores)


def swapped(images: Sequence[bytes], seed: int) -> dict[bytes, bytes]:
    """Another picture for each picture: a random cycle through all different ones (Sattolo).

    Raises:
        ParrotError: there is only one picture.
    """
    originals = list(dict.fromkeys(images))
    if len(originals) < 2:
        raise ParrotError("evaluate.blind: 'swapped' needs at least two different pictures; use 'removed'")
    others = originals.copy()
    draw = random.Random(f"swapped/{seed}")
    for last in range(len(others) - 1, 0, -1):
        other = draw.randrange(last)
        others[last], others[other] = others[other], others[last]
    return dict(zip(originals, others, strict=True))


def _length(question: Question) -> int:
    """Characters of the longest prompt, by which batches are grouped."""
    return len(question.hint) + len(question.question) + sum(len(text) for text in question.options.values())
