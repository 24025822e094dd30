"""Ways to train the same model on the same records, and the clock that is held to each.

`benchmarks/training.py` compares them; TRL's are in `benchmarks/training_trl.py`.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import training_records as made
from parrot.config import Training
from parrot.data.shards import RecordDataset
from parrot.model.registered import ParrotProcessor, build_parrot
from parrot.training.conversations import ConversationCollator
from parrot.training.packing import samples_apart
from parrot.training.sft import learners
from parrot.training.trainer import ParameterGroup, TrainingRun, fit

RATE = 1e-4
WARM_UP = 2
"""Samples of the one step before the clock starts."""


class Clock:
    """When forward passes began and steps ended, and how busy processors were from the first to the last."""

    def __init__(self, model: nn.Module) -> None:
        self.began: list[float] = []
        self.ended: list[float] = []
        self.busy = 0.0
        model.register_forward_pre_hook(lambda module, args: self.began.append(time.perf_counter()))

    def step_ends(self, *args: Any) -> None:
        self.ended.append(time.perf_counter())

    def restart(self) -> None:
        self.began.clear()
        self.ended.clear()
        self.busy = busy_seconds()

    def measured(self) -> dict[str, float]:
        """Seconds of all steps, of these the seconds of waiting for a batch, and processors' seconds."""
        assert len(self.began) == len(self.ended) > 1
        waits = [begin - end for end, begin in zip(self.ended[:-1], self.began[1:], strict=True)]
        seconds = self.ended[-1] - self.began[0]
        return {"seconds": seconds, "waiting": sum(waits), "busy": busy_seconds() - self.busy}


def busy_seconds() -> float:
    """Of all processors, for this process and those of its children that have ended."""
    return sum(os.times()[:4])


@dataclass(frozen=True)
class Work:
    """What a process is to do."""

    records: RecordDataset
    batch_size: int
    workers: int
    place: Path
    """A folder for checkpoints that nobody wants."""

    @property
    def steps(self) -> int:
        return len(self.records) // self.batch_size


def parrot_model() -> tuple[Any, ParrotProcessor]:
    tokenizer = made.make_tokenizer()
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_parrot(*made.make_backbones(), image_token_id=image, projector="mlp2x_gelu")
    processor = ParrotProcessor(
        made.make_image_processor(), tokenizer, image_seq_length=model.config.image_seq_length
    )
    return model, processor


def padded(work: Work) -> dict[str, float]:
    model, processor = parrot_model()
    collate = ConversationCollator(processor, made.MAX_LENGTH)
    model.model.vision_tower.requires_grad_(False)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=RATE, fused=True)
    order = torch.randperm(len(work.records), generator=torch.Generator().manual_seed(1)).tolist()
    clock = Clock(model)

    def train(steps: int, batch_size: int) -> None:
        for begin in range(0, steps * batch_size, batch_size):
            batch = collate([work.records[number] for number in order[begin : begin + batch_size]])
            torch.autograd.backward(model(**batch).loss)
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            clock.step_ends()

    model.train()
    train(1, WARM_UP)
    clock.restart()
    train(work.steps, work.batch_size)
    return clock.measured()


def here(work: Work) -> dict[str, float]:
    model, processor = parrot_model()
    collate = ConversationCollator(processor, made.MAX_LENGTH, packing=True)
    connector, words, _ = learners(model, None)
    clock = Clock(model)
    for name, steps, batch_size in (("warm up", 1, WARM_UP), ("measured", work.steps, work.batch_size)):
        clock.restart()
        training = Training(
            max_steps=steps, batch_size=batch_size, warmup_steps=0.0, weight_decay=0.0, packing=True,
            logging_steps=1, save_steps=steps + 1,
        )  # fmt: skip
        run = TrainingRun(name, work.place / name, clock.step_ends, work.workers)
        with samples_apart(model.model.language_model):
            fit(
                model, [ParameterGroup(connector, RATE), ParameterGroup(words, RATE)], work.records, collate,
                training, run, seed=1, lengths=work.records.lengths,
            )  # fmt: skip
    return clock.measured()
