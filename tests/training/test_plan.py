"""What `parrot plan` counts is what trainings here take."""

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plan_cases import LANGUAGE, TOWER, of, optimizing, whole
from small_stages import LORA, MODELS, TRAINING
from transformers import Qwen2Config

from benchmarks.plan import CASES, compared
from parrot.config import Align, Launch, RatedTraining, Sft
from parrot.errors import ParrotError
from parrot.model.chat_text import IGNORE_INDEX
from parrot.training.dry_run import bytes_of_step, in_one_row, made_up_batch, operations
from parrot.training.live_bytes import LiveBytes
from parrot.training.packing import pack, samples_apart
from parrot.training.plan import NF4_BYTES, ZERO_SIZES, Plan, on

POSITIONS = 512


def really(
    plan: Plan, batch: dict[str, torch.Tensor], *, checkpointing: bool, packing: bool = False
) -> Counter[str]:
    """What `bytes_of_step` counts, of a pass over numbers that are there."""
    model, _ = plan.made("cpu")
    model.train()
    if checkpointing:
        model.activation_checkpointing_enable()
    live = LiveBytes(lambda made: "logits" if made.shape[-1:] == (LANGUAGE.vocab_size,) else "activations")
    for known in (*model.parameters(), *model.buffers()):
        live.count(known, "weights")
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda one: live.count(one.grad, "gradients"))
    pixels = torch.zeros(len(batch["input_ids"]), 3, TOWER.image_size, TOWER.image_size)
    given = {**batch, "pixel_values": pixels}
    with live, samples_apart(model.model.language_model) if packing else nullcontext():
        torch.autograd.backward(model(**(pack(given) if packing else given)).loss)
    del live.peak["weights"]
    return live.peak


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("stage", [whole(), whole(LORA)], ids=["whole", "LoRA"])
def test_a_step_without_numbers_holds_what_a_real_one_holds(
    stage: Sft, padded: bool, checkpointing: bool
) -> None:
    plan = of(stage)
    batch = made_up_batch(plan.joined, 2, POSITIONS, 1)
    if padded:
        batch["attention_mask"][0, -100:] = 0
    else:
        batch["attention_mask"][:] = 1
    counted = bytes_of_step(
        plan.joined, batch, checkpointing=checkpointing, autocast=False, sharers=1, passes=1
    )
    real = really(plan, batch, checkpointing=checkpointing)
    assert counted.total() == pytest.approx(real.total(), rel=0.03)


def uneven(plan: Plan) -> dict[str, torch.Tensor]:
    """Three samples, of which two are shorter."""
    batch = plan.batch(POSITIONS)
    for row, length in enumerate((POSITIONS, 300, 200)):
        batch["attention_mask"][row, length:], batch["labels"][row, length:] = 0, IGNORE_INDEX
    return batch


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_packed_step_is_counted_as_the_one_row_that_it_is(checkpointing: bool) -> None:
    plan = of(whole(packing=True, batch_size=3, gradient_checkpointing=checkpointing))
    batch = uneven(plan)
    with samples_apart(plan.joined.model.language_model):
        counted = bytes_of_step(
            plan.joined, in_one_row(batch), checkpointing=checkpointing, autocast=False, sharers=1, passes=1
        )
    real = really(plan, batch, checkpointing=checkpointing, packing=True)
    assert counted.total() == pytest.approx(real.total(), rel=0.03)


def test_a_packed_batch_is_planned_to_keep_less_than_a_padded_one() -> None:
    packed, padded = (of(whole(packing=packing, batch_size=3)) for packing in (True, False))
    batch = uneven(padded)
    assert packed.memory(batch)["activations"] < 0.8 * padded.memory(batch)["activations"]


@pytest.mark.slow
def test_planned_memory_is_within_a_tenth_of_what_processes_take() -> None:
    """A few of `benchmarks/plan.py`; all of them: `python -m benchmarks.plan`."""
    for name, parts, found in compared(["whole", "LoRA, checkpointing", "ZeRO-2", "ZeRO-3, checkpointing"]):
        assert parts.total() == pytest.approx(found, rel=0.1), name
    assert len(CASES) >= 12


def test_weights_gradients_and_moments_are_shared_by_zero(tmp_path: Path) -> None:
    parts = {}
    for zero in (2, 3):
        tiny = {"stage3_max_live_parameters": 1, "stage3_prefetch_bucket_size": 1, "reduce_bucket_size": 1}
        stage = whole(
            deepspeed=optimizing(tmp_path, stage=zero, **tiny), launch=Launch(processes=4), bf16=True
        )
        plan = of(stage)
        parts[zero] = plan.memory(plan.batch())
        numbers = sum(plan.learned)
        tower = sum(parameter.numel() for parameter in plan.joined.model.vision_tower.parameters())
        assert parts[zero]["optimizer"] == 3 * numbers
        assert parts[zero]["weights"] == 2 * tower + 2 * numbers // (1 if zero == 2 else 4)


def test_the_published_precision_changes_nothing() -> None:
    published = Qwen2Config(**{**LANGUAGE.to_dict(), "dtype": "bfloat16"})
    plan = of(whole())
    assert replace(plan, language=published).memory(plan.batch()) == plan.memory(plan.batch())


def test_a_model_that_cannot_be_joined_is_refused_in_words() -> None:
    layer = MODELS["parrot"].model_copy(update={"vision_feature_layer": -9})
    with pytest.raises(ParrotError, match=r"model: .*vision_feature_layer"):
        replace(of(whole()), model=layer).made("meta")


@pytest.mark.parametrize("zero", [None, 2])
@pytest.mark.parametrize("bf16", [False, True])
def test_only_hidden_matrices_are_planned_in_four_bits(zero: int | None, bf16: bool, tmp_path: Path) -> None:
    training: dict[str, Any] = {"bf16": bf16, "deepspeed": zero and optimizing(tmp_path, stage=zero)}
    four = LORA.model_copy(update={"load_in_4bit": True})
    plain, plan = of(whole(LORA, **training)), of(whole(four, **training))
    hidden = LANGUAGE.hidden_size
    matrices = LANGUAGE.num_hidden_layers * (4 * hidden**2 + 3 * hidden * LANGUAGE.intermediate_size)
    size = 2 if zero and bf16 else 4
    less = plain.memory(plain.batch()) - plan.memory(plan.batch())
    assert less["weights"] == pytest.approx((size - NF4_BYTES) * matrices, abs=1)
    # Autocast keeps a copy of each frozen matrix that a gradient passes; four bits are kept as they are.
    assert less["activations"] == pytest.approx(2 * matrices if bf16 and not zero else 0, rel=0.02)


@pytest.mark.parametrize("stage", [2, 3])
def test_what_is_offloaded_takes_none_of_the_accelerators_memory(stage: int, tmp_path: Path) -> None:
    def parts(**zero: Any) -> Counter[str]:
        file = optimizing(tmp_path, stage=stage, **zero)
        plan = of(whole(deepspeed=file, launch=Launch(processes=2), gradient_accumulation_steps=2))
        return plan.memory(plan.batch())

    cpu = {"device": "cpu"}
    assert parts(offload_optimizer=None) == parts(offload_optimizer={"device": "none"}) == parts()
    offloaded = parts(offload_optimizer=cpu)
    assert parts()["optimizer"] and not offloaded["optimizer"]
    assert parts()["gradients"] and not offloaded["gradients"]
    tower = sum(parameter.numel() for parameter in of(whole()).joined.model.vision_tower.parameters())
    if stage == 3:
        assert parts(offload_param=cpu)["weights"] == 4 * tower


def test_a_deepspeed_json_without_a_stage_shares_nothing(tmp_path: Path) -> None:
    plan = of(whole(deepspeed=optimizing(tmp_path), launch=Launch(processes=2)))
    assert plan.memory(plan.batch())["optimizer"] == 12 * sum(plan.learned)


@pytest.mark.slow
def test_deepspeeds_own_sizes_are_those_of_the_plan() -> None:
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    told = {field.alias or name: field.default for name, field in DeepSpeedZeroConfig.model_fields.items()}
    assert {name: int(told[name]) for name in ZERO_SIZES} == ZERO_SIZES


def test_operations_are_the_textbooks() -> None:
    """Six for each weight and position that learns, two where nothing does; attention as in PaLM."""
    plan = of(whole())
    batch = made_up_batch(plan.joined, 1, POSITIONS, 1)
    text, length = LANGUAGE, plan.joined.config.image_seq_length
    layers = sum(
        p.numel() for n, p in plan.joined.model.language_model.layers.named_parameters() if p.ndim > 1
    )
    learned = POSITIONS - 1 - length  # of each, the position before it is computed
    words = 6 * POSITIONS * layers + 6 * learned * text.hidden_size * text.vocab_size
    attention = 12 * text.num_hidden_layers * text.hidden_size * POSITIONS**2
    vision = 2 * length * sum(p.numel() for p in plan.joined.model.vision_tower.parameters())
    connector = 6 * length * sum(p.numel() for module in plan.joined.connector() for p in module.parameters())
    assert operations(plan.joined, batch) == pytest.approx(words + attention + vision + connector, rel=0.02)
    frozen = operations(of(Align(training=RatedTraining(**TRAINING, learning_rate=1e-3))).joined, batch)
    assert frozen == pytest.approx(2 / 3 * words + attention + vision, rel=0.05)


def test_another_number_of_gpus_sees_as_many_samples_a_step() -> None:
    stage = whole(gradient_accumulation_steps=4, launch=Launch(processes=2))
    assert on(stage, 4).training.samples_a_step == stage.training.samples_a_step
    with pytest.raises(ParrotError, match="--gpus 3"):
        on(stage, 3)


def test_a_batch_has_padding_and_positions_for_an_image_and_text() -> None:
    grouped = Qwen2Config(**{**LANGUAGE.to_dict(), "num_key_value_heads": 1})
    plan = replace(of(whole(batch_size=2)), language=grouped)
    batch = plan.batch()
    assert batch["attention_mask"][-1].sum() == plan.model.max_length - 1
    whole_mask = {**batch, "attention_mask": torch.ones_like(batch["attention_mask"])}
    assert plan.memory(batch)["activations"] > plan.memory(whole_mask)["activations"]
    with pytest.raises(ParrotError, match=r"model\.max_length: 18 positions"):
        plan.batch(18)
    assert plan.memory(plan.batch(19))
