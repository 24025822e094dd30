"""A plan in words: `parrot plan`, and the sentence with which a training that cannot fit is refused."""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

from parrot.backbones.hub import configuration_folder
from parrot.config import Align, Lora, Model, Params, Sft
from parrot.data.shards import INDEX, RecordDataset
from parrot.errors import ParrotError
from parrot.training.arguments import effective_batch
from parrot.training.assembly import processor_of
from parrot.training.conversations import ConversationCollator, ReadableRecords
from parrot.training.dry_run import Batch, with_padding
from parrot.training.plan import GIB, Machine, Plan, configuration, on, sentence
from parrot.training.sample_lengths import SampleLengths, made_up, of_mixture

ZERO3 = "parrot/training/deepspeed/zero3.json"
TEXT = 256
"""Positions of text in a mean sample, where nothing says how many."""
MARGIN = 1.1
"""A plan is within a tenth of what is measured: only beyond that it is certain that a training cannot fit."""


def report(
    params: Params, machine: Machine, *, gpus: int | None, text: int | None, artifacts: Path | None = None
) -> Iterator[str]:
    """Lines for both stages, on configurations and what the profile says of its data.

    Args:
        gpus: in the place of the profile's `launch`; a step sees as many samples.
        text: positions of text in a mean sample, which has one image; without it as the mixtures have it,
            or `TEXT`.
        artifacts: the folder with the mixtures and records of `params`, if they have been made.

    Raises:
        ParrotError: the configuration of a backbone is neither here nor on the Hub.
    """
    vision, language = (
        configuration(configuration_folder(folder, params.hub))
        for folder in (params.backbones.vision, params.backbones.language)
    )
    for name, stage in (("align", params.align), ("sft", params.sft)):
        planned = Plan(stage if gpus is None else on(stage, gpus), params.model, vision, language)
        if not stage.training.max_steps:
            yield f"{name}: max_steps: 0, left out"
            continue
        counts = [
            (mixed.weight, mixed.samples or params.sources[source].expected)
            for source, mixed in getattr(params.mix, name).items()
        ]
        known = all(count for _, count in counts)
        samples = sum(int(weight * (count or 0)) for weight, count in counts) if known else None
        if artifacts and text is None and (artifacts / "mixtures" / name / INDEX).exists():
            mixture = artifacts / "mixtures" / name
            found = of_mixture(RecordDataset(artifacts / "prepared" / name, mixture), mixture)
            samples, longest = len(found.positions), _share_of_heaviest(planned, found)
        else:
            pictured, longest = planned.joined.config.image_seq_length, planned.model.max_length
            found = made_up(text or TEXT, pictured, longest)
        yield from _lines(planned, name, machine, samples, found, longest)


def _share_of_heaviest(planned: Plan, found: SampleLengths) -> int:
    """Positions of each sample, were those of the heaviest batch all of one length."""
    taken = found.positions[found.heaviest(planned.training)]
    with_picture = planned.joined.config.image_seq_length + 2
    return max(int(with_picture), math.ceil(int(taken.sum()) / planned.training.batch_size))


def _lines(
    planned: Plan, name: str, machine: Machine, samples: int | None, found: SampleLengths, longest: int
) -> Iterator[str]:
    training = planned.training
    yield f"{name}: {effective_batch(training, samples, found.mean)}"
    batch = planned.batch(longest)
    needed = planned.memory(batch)
    in_one = ", in one row" if training.packing else ""
    at = f"{training.batch_size} × {longest} positions{in_one}"
    yield f"  memory of each GPU, at {at}: {_verdict(needed.total(), machine)}"
    yield f"    {sentence(needed)}"
    if needed.total() > machine.memory * GIB:
        yield from (f"    {line}" for line in advice(planned, batch, machine))
    each, padding = planned.operations(found.mean, 1), found.padding(training)
    ranks, speed = training.launch.ranks, machine.tflops * 1e12 * machine.mfu
    hours = each * training.max_steps * training.samples_a_step / speed / 3600 / (1 - padding)
    money = f", {hours * machine.price:,.0f} at {machine.price:g} an hour" if machine.price else ""
    packed = "packed, none of it padding" if training.packing else f"{padding:.1%} of a batch is padding"
    yield f"  {found.mean} positions a sample, {packed}; {found.known_from}"
    yield (
        f"  {each / 1e12:,.1f} · 10¹² operations a sample, {machine.mfu:.0%} of {machine.tflops:g} TFLOPS: "
        f"{hours / ranks:,.1f} hours on {ranks}, {hours:,.1f} GPU-hours{money}"
    )
    yield f"  disk: {sentence(planned.disk())}"


def advice(planned: Plan, batch: Batch, machine: Machine) -> Iterator[str]:
    """What to change, one change on top of the other, until it fits."""
    for change, changed in remedies(planned):
        changed.joined.config.image_token_id = planned.joined.config.image_token_id
        size = changed.training.batch_size
        needed = changed.memory(with_padding({name: rows[:size].clone() for name, rows in batch.items()}))
        yield f"{change}: {_verdict(needed.total(), machine)}"
        if needed.total() <= machine.memory * GIB:
            return
    yield "and none of it makes it fit: more or larger GPUs, or `offload_optimizer` (docs/training.md)"


def remedies(planned: Plan) -> Iterator[tuple[str, Plan]]:
    """What to change if a stage does not fit, one change on top of the other: as docs/training.md says.
    Nothing that is refused, such as ZeRO-3 with four bits."""

    def changed(**values: Any) -> Plan:
        training = planned.training.model_copy(update=values)
        return replace(planned, stage=planned.stage.model_copy(update={"training": training}))

    if not planned.training.gradient_checkpointing:
        planned = changed(gradient_checkpointing=True)
        yield "gradient_checkpointing: true", planned
    while planned.training.batch_size % 2 == 0:
        size, passes = planned.training.batch_size // 2, planned.training.gradient_accumulation_steps * 2
        planned = changed(batch_size=size, gradient_accumulation_steps=passes)
        yield f"batch_size: {size} and gradient_accumulation_steps: {passes}", planned
    four_bits = planned.lora and planned.lora.load_in_4bit
    if planned.training.launch.ranks > 1 and planned.zero["stage"] != 3 and not four_bits:
        sharded = "" if planned.training.optimizer == "adamw" else " and optimizer: adamw"
        planned = changed(deepspeed=ZERO3, optimizer="adamw")
        yield f"deepspeed: {ZERO3}{sharded}", planned
    names = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(planned.language.model_type)
    if isinstance(planned.stage, Sft) and not planned.lora and isinstance(names, list):
        lora = Lora(rank=16, alpha=16, dropout=0.0, target_modules=names)
        planned = replace(planned, stage=planned.stage.model_copy(update={"lora": lora}))
        yield f"lora: {{rank: 16, target_modules: [{', '.join(names)}], …}}", planned


def _verdict(needed: int, machine: Machine) -> str:
    share = needed / GIB / machine.memory
    words = "fits" if share <= 1 else "may not fit" if share <= MARGIN else "does not fit"
    return f"{needed / GIB:,.1f} of {machine.memory:g} GiB, {words}"


def refuse_what_cannot_fit(sections: Mapping[str, Any], paths: Mapping[str, Any]) -> None:
    """Before a stage trains on an accelerator: its longest sample, batch_size times, has to fit.

    Args:
        sections: `model`, `seed`, and `align` or `sft`.
        paths: `records`, `mixture`, `vision` and `language`.

    Where it may not, within what a plan can be off, that is said on stderr and the stage trains.

    Raises:
        ParrotError: it does not; says by what, and what to change.
    """
    stage: Align | Sft | None = sections.get("align") or sections.get("sft")
    memory = accelerator_bytes()
    if stage is None or not memory or not stage.training.max_steps:
        return
    model: Model = sections["model"]
    planned = Plan(stage, model, configuration(paths["vision"]), configuration(paths["language"]))
    named = {name: paths[name] for name in ("records", "mixture", "vision", "language")}
    batch = heaviest(planned, **named, seed=sections["seed"])
    machine = Machine(memory=memory / GIB)
    needed = planned.memory(batch)
    parts = f"{_verdict(needed.total(), machine)} ({sentence(needed)})"
    if needed.total() > MARGIN * memory:
        changes = "".join(f"\n  {line}" for line in advice(planned, batch, machine))
        raise ParrotError(
            f"this training needs more memory than a GPU has: {parts}; "
            f"change in params.yaml, one on top of the other:{changes}"
        )
    if needed.total() > memory:
        print(f"may not fit: the memory of a GPU is planned at {parts}", file=sys.stderr, flush=True)


def heaviest(
    planned: Plan, records: Path, mixture: Path, vision: Path, language: Path, *, seed: int
) -> Batch:
    """The mixture's longest sample as often as a batch has samples, the last one a position shorter if there
    are several; with `packing` the samples that come together and have most positions."""
    dataset = RecordDataset(records, mixture)
    chosen = of_mixture(dataset, mixture).heaviest(planned.training, seed)
    processor = processor_of(vision, language, planned.joined, planned.model)
    planned.joined.config.image_token_id = processor.image_token_id
    readable = ReadableRecords(dataset)
    batch = ConversationCollator(processor, planned.model.max_length)([readable[int(n)] for n in chosen])
    return with_padding({name: batch[name] for name in ("input_ids", "labels", "attention_mask")})


def accelerator_bytes() -> int:
    """Of the memory of this process's accelerator; 0 without one."""
    return torch.cuda.get_device_properties().total_memory if torch.cuda.is_available() else 0
