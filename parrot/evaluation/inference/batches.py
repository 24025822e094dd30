"""Batched answers: how a model, known only through the transformers API, answers a chunk of the questions."""

import inspect
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import torch

from parrot.data.images import BACKGROUND
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.benchmark import decoded
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion
from parrot.evaluation.inference.chunks import Chunk
from parrot.evaluation.inference.decoding import Prefix, log_likelihoods, read_prompts, write_answers
from parrot.evaluation.inference.prompts import Protocol
from parrot.evaluation.samples import Answer, Sample
from parrot.model.chat_text import answer_ids, prompts_of, without_images

TIE = 1e-5
"""Scores (nats) closer than this are equal: their rounding differs with the shape of the batch."""
LETTER_TOKENS = 8
"""A letter that comes later than this is not what an answer begins with."""
_TEXT_INPUTS = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}
_LETTER = re.compile(r"\W*([A-Z])(?:[.:)][)*]*\s|[*]*\n)")


@dataclass(frozen=True)
class InferenceRun:
    """One pass over all questions: which prompt, with which picture."""

    name: str
    protocol: Protocol
    picture: Literal["own", "removed", "swapped"]


@dataclass(frozen=True)
class Pictures:
    """The pictures of a chunk, each once."""

    place: dict[bytes, int]
    """Encoded picture -> its row in the tensors."""
    tensors: dict[str, torch.Tensor]
    """What the model takes for them: pixel_values [pictures, 3, height, width], or features of them."""
    positions: list[int]
    """How many positions of its prompt each picture takes."""

    def rows(self, images: Sequence[bytes]) -> dict[str, torch.Tensor]:
        """The model's inputs for a batch that shows these."""
        places = [self.place[image] for image in images]
        return {name: tensor[places] for name, tensor in self.tensors.items()}


def answer_chunk(
    model: Any,
    processor: Any,
    chunk: Chunk,
    runs: Sequence[InferenceRun],
    *,
    batch_size: int,
    swapped: Mapping[bytes, bytes],
) -> list[Sample]:
    """Answer the questions of a chunk in every run, the longest questions first.

    Args:
        swapped: the picture that a run with swapped pictures shows in a picture's place.

    Raises:
        ParrotError: a picture cannot be read, or the model's scores are not finite.
    """
    pictures = load_pictures(model, processor, chunk, runs, batch_size=batch_size, swapped=swapped)
    order = sorted(chunk, key=_length, reverse=True)
    samples: list[Sample] = []
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        found: dict[str, list[Answer]] = {}
        routing: list[list[float] | None] = [None] * len(batch)
        for sharing in _runs_by_prompt(batch, runs):
            prefix = read_prompts(model, encode_prompts(processor, batch, sharing[0], pictures, swapped))
            for run in sharing:
                last = run is sharing[-1]
                found[run.name] = _answers(model, processor, batch, run.protocol, prefix, last)
            if runs[0] in sharing and prefix.routing is not None:
                routing = prefix.routing.tolist()
        samples += [
            Sample(question, {run.name: found[run.name][place] for run in runs}, routing=routing[place])
            for place, question in enumerate(batch)
        ]
    return samples


def _runs_by_prompt(batch: Chunk, runs: Sequence[InferenceRun]) -> Iterator[list[InferenceRun]]:
    """Runs that put the same texts and pictures to the model, so that it reads them once."""

    def prompt(run: InferenceRun) -> tuple[str, ...]:
        texts = (run.protocol.ask(question, picture=True) for question in batch)
        return (run.picture, run.protocol.system, *texts)

    for _, sharing in groupby(sorted(runs, key=prompt), key=prompt):
        yield list(sharing)


def _answers(
    model: Any, processor: Any, batch: Chunk, protocol: Protocol, prefix: Prefix, last: bool
) -> list[Answer]:
    tokenizer = processor.tokenizer
    if protocol.read == "written":
        _require_finite(batch, prefix.logits.isfinite().all(dim=-1).tolist())
        written = write_answers(
            model,
            prefix,
            max_new_tokens=protocol.max_new_tokens,
            ends=_ends(model, tokenizer),
            complete=lambda row, ids: _has_its_letter(tokenizer, ids, batch[row].options),
            last=last,
        )
        return [Answer(text=tokenizer.decode(ids, skip_special_tokens=True).strip()) for ids in written]
    options = [protocol.answers(question) for question in batch]
    texts = [without_images(text) for row in options for text in row.values()]
    encoded = iter(answer_ids(processor, texts, ended=protocol.read == "texts"))
    candidates = [[next(encoded) for _ in row] for row in options]
    scores = log_likelihoods(model, prefix, candidates, last=last)
    _require_finite(batch, [all(map(math.isfinite, row)) for row in scores])
    return [
        choose(dict(zip(letters, row, strict=True))) for letters, row in zip(options, scores, strict=True)
    ]


def _require_finite(batch: Chunk, finite: Sequence[bool]) -> None:
    if not all(finite):
        question = batch[finite.index(False)]
        raise ParrotError(
            f"question {question.index} in '{question.language}': the model's scores are not finite; "
            f"its training has diverged"
        )


def _has_its_letter(tokenizer: Any, ids: Sequence[int], options: Mapping[str, str]) -> bool:
    """Whether an answer so far is an option's letter, set off from what follows: "B. "."""
    found = _LETTER.match(tokenizer.decode(ids)) if len(ids) <= LETTER_TOKENS else None
    return found is not None and found[1] in options


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end an answer."""
    known = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = known if isinstance(known, list) else [known]
    return {end for end in (*ends, tokenizer.eos_token_id) if end is not None}


def choose(scores: dict[str, float]) -> Answer:
    """The most likely letter; the first of those that are equally likely."""
    best = max(scores.values())
    return Answer(next(letter for letter, score in scores.items() if score >= best - TIE), scores=scores)


def load_pictures(
    model: Any,
    processor: Any,
    questions: Chunk,
    runs: Sequence[InferenceRun],
    *,
    batch_size: int,
    swapped: Mapping[bytes, bytes],
) -> Pictures:
    """Decode and preprocess every picture that a chunk shows, and encode it if the model lets us.

    A model whose `forward` takes `image_features` (what its `get_image_features` makes of pictures) reads a
    picture once for all questions about it; another one reads it anew in every prompt.
    """
    shown: dict[bytes, MultipleChoiceQuestion] = {}
    kinds = {run.picture for run in runs}
    for question in questions:
        if "own" in kinds:
            shown.setdefault(question.image, question)
        if "swapped" in kinds:
            shown.setdefault(swapped[question.image], question)
    if not shown:
        return Pictures({}, {}, [])
    images = list(shown)
    positions: list[int] = []
    parts: dict[str, list[torch.Tensor]] = {}
    background = getattr(processor, "background", BACKGROUND)  # other models' processors have none
    for start in range(0, len(images), batch_size):  # a whole chunk of large pictures may not fit in memory
        some = images[start : start + batch_size]
        pixels = [decoded(shown[image], image, background) for image in some]
        inputs = processor(
            text=[processor.image_token] * len(some), images=pixels, padding=True, return_tensors="pt"
        )
        positions += (inputs["input_ids"] == processor.image_token_id).sum(-1).tolist()
        for name, tensor in _image_inputs(model, inputs).items():
            parts.setdefault(name, []).append(tensor)
    tensors = {name: torch.cat(tensors) for name, tensors in parts.items()}
    return Pictures({image: place for place, image in enumerate(images)}, tensors, positions)


@torch.inference_mode()
def _image_inputs(model: Any, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a prompt with these pictures hands to the model beside its text."""
    forward = getattr(model, "forward", None)
    if forward and "image_features" in inspect.signature(forward).parameters:
        return {"image_features": model.get_image_features(inputs["pixel_values"].to(model.device))}
    return {name: value for name, value in inputs.items() if name not in _TEXT_INPUTS}


def encode_prompts(
    processor: Any,
    batch: Chunk,
    run: InferenceRun,
    pictures: Pictures,
    swapped: Mapping[bytes, bytes],
) -> dict[str, torch.Tensor]:
    """The model's inputs up to where the assistant's answer begins, padded on the left."""
    tokenizer = processor.tokenizer
    with_image = run.picture != "removed"
    images = [question.image for question in batch] if with_image else []
    if run.picture == "swapped":
        images = [swapped[image] for image in images]
    system = {"role": "system", "content": run.protocol.system}
    texts = [run.protocol.ask(question, picture=with_image) for question in batch]
    prompts = prompts_of(processor, [[system, {"role": "user", "content": text}] for text in texts])
    for number, image in enumerate(images):
        positions = processor.image_token * pictures.positions[pictures.place[image]]
        prompts[number] = prompts[number].replace(processor.image_token, positions)
    starts = tokenizer.bos_token is not None and prompts[0].startswith(tokenizer.bos_token)
    inputs = tokenizer(
        prompts, add_special_tokens=not starts, padding=True, padding_side="left", return_tensors="pt"
    )
    return {
        "input_ids": inputs["input_ids"],
        "attention_mask": inputs["attention_mask"],
        **(pictures.rows(images) if with_image else {}),
    }


def _length(question: MultipleChoiceQuestion) -> int:
    """Characters of the longest prompt, by which batches are grouped."""
    return len(question.hint) + len(question.question) + sum(len(text) for text in question.options.values())
