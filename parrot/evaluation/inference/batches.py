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
from parrot.evaluation.inference.chunks import Chunk, batches
from parrot.evaluation.inference.decoding import Prefix, log_likelihoods, read_prompts
from parrot.evaluation.inference.prompts import Protocol
from parrot.evaluation.inference.writing import Writer
from parrot.evaluation.samples import Answer, Sample
from parrot.model.chat_text import answer_ids, prompts_of, without_images

TIE = 1e-5
"""Scores (nats) closer than this are equal: their rounding differs with the shape of the batch."""
LETTER_TOKENS = 8
"""A letter that comes later than this is not what an answer begins with."""
READ_AT_ONCE = 16
"""So many prompts fill a processor and stay in its caches. A batch is read in parts of these or, where it is
larger, in quarters, and up to a whole one is written at once."""
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


@dataclass(frozen=True)
class Inference:
    """A model, its processor, and the runs in which it answers questions.

    The methods take `swapped`: the picture that a run with swapped pictures shows in a picture's place.
    """

    model: Any
    processor: Any
    runs: Sequence[InferenceRun]
    batch_size: int

    def answer(self, chunk: Chunk, swapped: Mapping[bytes, bytes]) -> list[Sample]:
        """Answer the questions of a chunk in every run, the longest questions first.

        Raises:
            ParrotError: a picture cannot be read, or the model's scores are not finite.
        """
        pictures = self.load_pictures(chunk, swapped)
        found: dict[tuple[str, int], dict[str, Answer]] = {}
        routing: dict[tuple[str, int], list[float]] = {}
        writers: dict[str, Writer] = {}
        ordered = sorted(chunk, key=_length, reverse=True)
        for batch in batches(ordered, self._read_at_once):
            keys = [(question.language, question.index) for question in batch]
            for sharing in _runs_by_prompt(batch, self.runs):
                prefix = read_prompts(self.model, self.encode_prompts(batch, sharing[0], pictures, swapped))
                for run in sharing:
                    last = run is sharing[-1]
                    if run.protocol.read == "written":
                        _require_finite(batch, prefix.logits.isfinite().all(dim=-1).tolist())
                        if run.name not in writers:
                            writers[run.name] = self._writer(chunk, run.protocol)
                        writers[run.name].add(keys, prefix, last=last)
                        continue
                    for key, answer in zip(
                        keys, self._chosen(batch, run.protocol, prefix, last=last), strict=True
                    ):
                        found.setdefault(key, {})[run.name] = answer
                if self.runs[0] in sharing and prefix.routing is not None:
                    routing |= zip(keys, prefix.routing.tolist(), strict=True)
        for name, writer in writers.items():
            writer.finish()
            for key, ids in writer.written.items():
                text = self.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
                found.setdefault(key, {})[name] = Answer(text=text)
        samples = []
        for question in ordered:
            key = (question.language, question.index)
            answers = {run.name: found[key][run.name] for run in self.runs}
            samples.append(Sample(question, answers, routing=routing.get(key)))
        return samples

    def load_pictures(self, chunk: Chunk, swapped: Mapping[bytes, bytes]) -> Pictures:
        """Decode and preprocess every picture that a chunk shows, and encode it if the model lets us.

        A model whose `forward` takes `image_features` (what its `get_image_features` makes of pictures)
        reads a picture once for all questions about it; another one reads it anew in every prompt.
        """
        kinds = sorted({run.picture for run in self.runs} - {"removed"})
        shown: dict[bytes, MultipleChoiceQuestion] = {}
        for question in chunk:
            for kind in kinds:
                shown.setdefault(_picture(question, kind, swapped), question)
        positions: list[int] = []
        parts: dict[str, list[torch.Tensor]] = {}
        background = getattr(self.processor, "background", BACKGROUND)  # other models' processors have none
        for some in batches(list(shown), self.batch_size):  # all of a chunk may not fit in memory
            inputs = self.processor(
                text=[self.processor.image_token] * len(some),
                images=[decoded(shown[image], image, background) for image in some],
                padding=True,
                return_tensors="pt",
            )
            positions += (inputs["input_ids"] == self.processor.image_token_id).sum(-1).tolist()
            for name, tensor in _image_inputs(self.model, inputs).items():
                parts.setdefault(name, []).append(tensor)
        tensors = {name: torch.cat(tensors) for name, tensors in parts.items()}
        return Pictures({image: place for place, image in enumerate(shown)}, tensors, positions)

    def encode_prompts(
        self, batch: Chunk, run: InferenceRun, pictures: Pictures, swapped: Mapping[bytes, bytes]
    ) -> dict[str, torch.Tensor]:
        """The model's inputs up to where the assistant's answer begins, padded on the left."""
        tokenizer, image_token = self.processor.tokenizer, self.processor.image_token
        with_image = run.picture != "removed"
        system = {"role": "system", "content": run.protocol.system}
        texts = [run.protocol.ask(question, picture=with_image) for question in batch]
        prompts = prompts_of(self.processor, [[system, {"role": "user", "content": text}] for text in texts])
        shown: dict[str, torch.Tensor] = {}
        if with_image:
            places = [pictures.place[_picture(question, run.picture, swapped)] for question in batch]
            shown = {name: tensor[places] for name, tensor in pictures.tensors.items()}
            prompts = [
                prompt.replace(image_token, image_token * pictures.positions[place])
                for prompt, place in zip(prompts, places, strict=True)
            ]
        starts = tokenizer.bos_token is not None and prompts[0].startswith(tokenizer.bos_token)
        inputs = tokenizer(
            prompts, add_special_tokens=not starts, padding=True, padding_side="left", return_tensors="pt"
        )
        return {name: inputs[name] for name in ("input_ids", "attention_mask")} | shown

    @property
    def _read_at_once(self) -> int:
        return min(self.batch_size, max(READ_AT_ONCE, self.batch_size // 4))

    def _writer(self, chunk: Chunk, protocol: Protocol) -> Writer:
        tokenizer = self.processor.tokenizer
        asked = {(question.language, question.index): question.options for question in chunk}
        options = asked if protocol.shows_options else {}
        return Writer(
            self.model,
            max_new_tokens=protocol.max_new_tokens,
            ends=_ends(self.model, tokenizer),
            complete=lambda key, ids: _has_its_letter(tokenizer, ids, options.get(key, {})),
            left_over=self.batch_size - self._read_at_once,
        )

    def _chosen(self, batch: Chunk, protocol: Protocol, prefix: Prefix, *, last: bool) -> list[Answer]:
        """The likeliest option of each question."""
        options = [protocol.answers(question) for question in batch]
        texts = [without_images(text) for row in options for text in row.values()]
        encoded = iter(answer_ids(self.processor, texts, ended=protocol.read == "texts"))
        candidates = [[next(encoded) for _ in row] for row in options]
        scores = log_likelihoods(self.model, prefix, candidates, last=last)
        _require_finite(batch, [all(map(math.isfinite, row)) for row in scores])
        return [
            choose(dict(zip(letters, row, strict=True))) for letters, row in zip(options, scores, strict=True)
        ]


def _picture(question: MultipleChoiceQuestion, kind: str, swapped: Mapping[bytes, bytes]) -> bytes:
    """What a run that shows pictures of this kind shows with a question."""
    return swapped[question.image] if kind == "swapped" else question.image


def _runs_by_prompt(batch: Chunk, runs: Sequence[InferenceRun]) -> Iterator[list[InferenceRun]]:
    """Runs that put the same texts and pictures to the model, so that it reads them once."""

    def prompt(run: InferenceRun) -> tuple[str, ...]:
        texts = (run.protocol.ask(question, picture=True) for question in batch)
        return (run.picture, run.protocol.system, *texts)

    for _, sharing in groupby(sorted(runs, key=prompt), key=prompt):
        yield list(sharing)


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


@torch.inference_mode()
def _image_inputs(model: Any, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a prompt with these pictures hands to the model beside its text."""
    forward = getattr(model, "forward", None)
    if forward and "image_features" in inspect.signature(forward).parameters:
        return {"image_features": model.get_image_features(inputs["pixel_values"].to(model.device))}
    return {name: value for name, value in inputs.items() if name not in _TEXT_INPUTS}


def _length(question: MultipleChoiceQuestion) -> int:
    """Characters of the longest prompt, by which batches are grouped."""
    return len(question.hint) + len(question.question) + sum(len(text) for text in question.options.values())
