"""A plan in words, and what cannot fit is refused before it starts."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plan_cases import LANGUAGE, TOWER, of, optimizing, whole
from small_stages import LORA, MODELS
from transformers import AutoConfig

from parrot.cli import main
from parrot.config import Launch
from parrot.errors import ParrotError
from parrot.training import plan_report
from parrot.training.arguments import effective_batch
from parrot.training.plan import GIB, Machine, Plan
from parrot.training.plan_report import ZERO3, advice, heaviest, remedies

PROJECT = Path(__file__).parents[2]
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


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
    two: dict[str, Any] = {"batch_size": 1, "gradient_checkpointing": True, "launch": Launch(processes=2)}
    lora = "lora: {rank: 16, target_modules: [q_proj, v_proj], …}"
    assert advised(of(whole(**two))) == [f"deepspeed: {ZERO3}", lora]
    muon = of(whole(optimizer="muon", **two))
    assert advised(muon) == [f"deepspeed: {ZERO3} and optimizer: adamw", lora]
    assert advised(of(whole(deepspeed=optimizing(tmp_path, stage=3), **two))) == [lora]
    assert advised(of(whole(LORA.model_copy(update={"load_in_4bit": True}), **two))) == []
    olmo = AutoConfig.for_model("olmo", **{name: getattr(LANGUAGE, name) for name in SIZES})
    assert advised(replace(of(whole(**two)), language=olmo)) == [f"deepspeed: {ZERO3}"]


def test_what_cannot_fit_is_refused_with_what_to_change(
    inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = {"sft": whole(), "model": MODELS["parrot"], "seed": 1}
    plan_report.refuse_what_cannot_fit(sections, inputs)  # there is no accelerator
    monkeypatch.setattr(plan_report, "accelerator_bytes", lambda: 80 * GIB)
    plan_report.refuse_what_cannot_fit(sections, inputs)
    monkeypatch.setattr(plan_report, "accelerator_bytes", lambda: GIB)
    with pytest.raises(
        ParrotError, match=r"more memory than a GPU has: 1\.5 of 1 GiB, does not fit"
    ) as refused:
        plan_report.refuse_what_cannot_fit(sections, inputs)
    assert "\n  gradient_checkpointing: true: " in str(refused.value)
    assert not capsys.readouterr().err
    plan = of(whole())
    needed = plan.memory(heaviest(plan, **inputs, seed=1)).total()
    monkeypatch.setattr(plan_report, "accelerator_bytes", lambda: int(needed / 1.05))
    plan_report.refuse_what_cannot_fit(sections, inputs)
    assert capsys.readouterr().err.startswith("may not fit: the memory of a GPU is planned at 1.5 of ")


def test_changes_are_planned_with_the_images_of_the_batch() -> None:
    plan = of(whole(batch_size=2, gradient_checkpointing=True))
    halved = of(whole(batch_size=1, gradient_checkpointing=True, gradient_accumulation_steps=2))
    expected = halved.memory(halved.batch()).total() / GIB
    plan.joined.config.image_token_id = 7  # the tokenizer's
    batch = plan.batch()
    assert next(advice(plan, batch, Machine(memory=1.00000001 * expected))).endswith(", fits")
    assert next(advice(plan, batch, Machine(memory=0.99999999 * expected))).endswith("may not fit")


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


@pytest.mark.parametrize(
    "flag", ["--gpus=0", "--mfu=0", "--memory=-1", "--text=0", "--price=nan", "--tflops=x"]
)
def test_numbers_that_are_not_positive_are_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", flag])
    assert "invalid positive" in capsys.readouterr().err


def test_epochs_of_an_unknown_number_of_samples_are_left_out() -> None:
    assert "epochs" not in effective_batch(whole().training, None, 10)
