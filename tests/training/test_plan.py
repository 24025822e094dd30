"""What `parrot plan` counts is what trainings here take, and what cannot fit is refused before it starts."""

import json
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_stages import LORA, MODELS, MOE, TRAINING
from transformers import AutoConfig, CLIPVisionConfig, Qwen2Config

from benchmarks.plan import CASES, compared
from parrot.cli import main
from parrot.config import Align, Launch, Lora, RatedTraining, Sft, Training
from parrot.errors import ParrotError
from parrot.training import plan_report
from parrot.training.dry_run import bytes_of_step, made_up_batch, operations
from parrot.training.live_bytes import LiveBytes
from parrot.training.plan import GIB, NF4_BYTES, ZERO_SIZES, Plan, on
from parrot.training.plan_report import ZERO3, remedies

PROJECT = Path(__file__).parents[2]
TOWER = CLIPVisionConfig(
    hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=56,
    patch_size=14,
)  # fmt: skip
LANGUAGE = Qwen2Config(
    hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=4, vocab_size=2000, bos_token_id=None, eos_token_id=None, pad_token_id=0,
)  # fmt: skip
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
POSITIONS = 512


def whole(lora: Lora | None = None, **training: Any) -> Sft:
    return Sft(
        learning_rate=1e-3, language_model_learning_rate=1e-3, lora=lora, moe=MOE,
        training=Training(**{**TRAINING, **training}),
    )  # fmt: skip


def of(stage: Align | Sft, architecture: str = "parrot") -> Plan:
    return Plan(stage, MODELS[architecture], TOWER, LANGUAGE)


def really(plan: Plan, batch: dict[str, torch.Tensor], *, checkpointing: bool) -> Counter[str]:
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
    with live:
        images = len(batch["input_ids"])
        pixels = torch.zeros(images, 3, TOWER.image_size, TOWER.image_size)
        torch.autograd.backward(model(**batch, pixel_values=pixels).loss)
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
    counted = bytes_of_step(
        plan.joined, batch, checkpointing=checkpointing, autocast=False, sharers=1, passes=1
    )
    real = really(plan, batch, checkpointing=checkpointing)
    assert counted.total() == pytest.approx(real.total(), rel=0.03)


@pytest.mark.slow
def test_planned_memory_is_within_a_tenth_of_what_processes_take() -> None:
    """A few of `benchmarks/plan.py`; all of them: `python -m benchmarks.plan`."""
    for name, parts, found in compared(["whole", "LoRA, checkpointing", "ZeRO-2", "ZeRO-3, checkpointing"]):
        assert parts.total() == pytest.approx(found, rel=0.1), name
    assert len(CASES) >= 12


def optimizing(folder: Path, **zero: Any) -> str:
    """A DeepSpeed JSON."""
    file = folder / "zero.json"
    file.write_text(json.dumps({"zero_optimization": zero}), encoding="utf-8")
    return str(file)


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


def test_each_change_that_is_advised_takes_less() -> None:
    stage = whole(batch_size=4)
    needed = [of(stage).memory(of(stage).batch(128)).total()]
    for _, plan in remedies(of(stage)):
        needed.append(plan.memory(plan.batch(128)).total())
    assert len(needed) == 5
    assert needed == sorted(needed, reverse=True)


def advised(plan: Plan) -> list[str]:
    return [change for change, _ in remedies(plan)]


def test_nothing_is_advised_that_would_be_refused(tmp_path: Path) -> None:
    two = {"batch_size": 1, "gradient_checkpointing": True, "launch": Launch(processes=2)}
    lora = "lora: {rank: 16, target_modules: [q_proj, v_proj], …}"
    assert advised(of(whole(**two))) == [f"deepspeed: {ZERO3}", lora]
    muon = of(whole(optimizer="muon", **two))
    assert advised(muon) == [f"deepspeed: {ZERO3} and optimizer: adamw", lora]
    assert advised(of(whole(deepspeed=optimizing(tmp_path, stage=3), **two))) == [lora]
    assert advised(of(whole(LORA.model_copy(update={"load_in_4bit": True}), **two))) == []
    olmo = AutoConfig.for_model("olmo", **{name: getattr(LANGUAGE, name) for name in SIZES})
    assert advised(replace(of(whole(**two)), language=olmo)) == [f"deepspeed: {ZERO3}"]


def test_what_cannot_fit_is_refused_with_what_to_change(
    inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = {"sft": whole(), "model": MODELS["parrot"]}
    plan_report.refuse_what_cannot_fit(sections, inputs)  # there is no accelerator
    monkeypatch.setattr(plan_report, "accelerator_bytes", lambda: 80 * GIB)
    plan_report.refuse_what_cannot_fit(sections, inputs)
    monkeypatch.setattr(plan_report, "accelerator_bytes", lambda: GIB)
    with pytest.raises(
        ParrotError, match=r"more memory than a GPU has: 1\.5 of 1 GiB, does not fit"
    ) as refused:
        plan_report.refuse_what_cannot_fit(sections, inputs)
    assert "\n  gradient_checkpointing: true: " in str(refused.value)


def test_a_profile_is_planned_by_configurations_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf").symlink_to(PROJECT / "conf")
    (tmp_path / "parrot").symlink_to(PROJECT / "parrot")
    monkeypatch.chdir(tmp_path)
    for name, config in (("vision", TOWER), ("language", LANGUAGE)):
        config.save_pretrained(tmp_path / "artifacts/hub" / name)
    main(["plan", "parrot-7b", "--gpus", "4", "--memory", "10", "--price", "2"])
    told = capsys.readouterr().out
    assert "align: 4,746 steps of 256 samples (4 ranks × 8 × accumulation 8)" in told
    assert "1.00 epochs of 793,298 samples" in told
    hours, money = (float(found) for found in re.findall(r"([\d.]+) GPU-hours, (\d+) at 2 an hour", told)[-1])
    assert math.isclose(money, 2 * hours, abs_tol=1)
