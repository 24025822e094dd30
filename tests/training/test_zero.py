"""Two ranks under DeepSpeed: the losses and the answers of one process, whatever their batches hold."""

from typing import Any

import pytest
import torch
from rank_cases import coming_in_order
from safetensors.torch import load_file
from workshop import Workshop

TWO_RANKS: dict[str, Any] = {"batch_size": 2, "launch": {"processes": 2}}
"""The global batch is the single process's: four."""
LOSS = {"rel": 2e-5}
"""Float32: sums in another order."""
WEIGHTS = {"atol": 2e-4, "rtol": 0.0}
"""AdamW divides by gradients that are almost zero where a weight hardly matters."""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("ranks"))


def _same(workshop: Workshop, name: str, single: str, *, answers: bool) -> None:
    assert workshop.losses(name) == pytest.approx(workshop.losses(single), **LOSS), name
    expected = workshop.weights(single)
    weights = workshop.weights(name)
    assert weights.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(weights[key], value, **WEIGHTS, msg=lambda m, key=key: f"{key}: {m}")
    if answers:
        assert workshop.answer(name) == workshop.answer(single)


OTHERS: dict[str, dict[str, Any]] = {
    "accumulated": {"deepspeed": "zero3", "training": {
        **TWO_RANKS, "batch_size": 1, "gradient_accumulation_steps": 2, "gradient_checkpointing": True,
    }},
    "chunked": {"deepspeed": "zero3", "training": TWO_RANKS, "chunk_bytes": 1},
    "offloaded": {"deepspeed": "zero3", "offload": True, "training": TWO_RANKS},
    "offloaded-2": {"deepspeed": "zero2", "offload": True, "training": TWO_RANKS},
    "without-deepspeed": {"training": TWO_RANKS},
}  # fmt: skip


@pytest.mark.slow
def test_zero_accumulates_chunks_and_offloads_and_ranks_train_without_it(workshop: Workshop) -> None:
    workshop.alone(workshop.case("one", "sft", "parrot", moe=True))
    cases = [workshop.case(name, "sft", "parrot", moe=True, **choices) for name, choices in OTHERS.items()]
    done = workshop.on_ranks(cases)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in OTHERS:
        _same(workshop, name, "one", answers=True)


HALVES: dict[str, dict[str, Any]] = {
    "zero3": {"deepspeed": "zero3"},
    "zero2": {"deepspeed": "zero2"},
    "zero3-lora": {"deepspeed": "zero3", "lora": True},
}


@pytest.mark.slow
def test_zero_writes_the_optimizer_s_float32_of_a_training_in_bfloat16(workshop: Workshop) -> None:
    training = {**TWO_RANKS, "bf16": True}
    choices = {name: {"moe": True, "training": training, **chosen} for name, chosen in HALVES.items()}
    cases = [workshop.case(f"half-{name}", "sft", "parrot", **chosen) for name, chosen in choices.items()]
    done = workshop.on_ranks(cases)
    assert done.returncode == 0, done.stderr[-3000:]
    tower = load_file(workshop.folder / "vision/model.safetensors")
    for name, chosen in choices.items():
        workshop.alone(workshop.case(f"full-{name}", "sft", "parrot", moe=True, lora=chosen.get("lora")))
        assert workshop.losses(f"half-{name}") == pytest.approx(workshop.losses(f"full-{name}"), rel=0.02)
        weights, expected = (workshop.weights(f"{precision}-{name}") for precision in ("half", "full"))
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
        assert weights.keys() == expected.keys()
        for key, value in weights.items():
            torch.testing.assert_close(value, expected[key], atol=0.02, rtol=0.0)
        frozen = [key for key in weights if "vision_tower" in key]
        assert len(frozen) == len(tower)
        assert all(torch.equal(weights[key], expected[key]) for key in frozen)
        projector = next(value for key, value in weights.items() if "projector.0.weight" in key)
        assert not torch.equal(projector, projector.bfloat16().float()), "these are not the optimizer's"


STAGES: list[tuple[str, str, dict[str, Any]]] = [
    ("align", "parrot", {}),
    ("sft", "parrot", {"moe": True}),
    ("sft", "parrot", {"moe": True, "lora": True}),
    ("sft", "flamingo", {}),
    ("align", "flamingo", {}),
    ("sft", "flamingo", {"lora": True}),
]


def _compared(workshop: Workshop, zero: str, stages: list[tuple[str, str, dict[str, Any]]]) -> None:
    names = [f"{zero}-{s}-{a}-{'-'.join(choices)}" for s, a, choices in stages]
    cases = []
    for name, (stage, architecture, choices) in zip(names, stages, strict=True):
        workshop.alone(workshop.case(f"alone-{name}", stage, architecture, **choices))
        cases.append(workshop.case(name, stage, architecture, deepspeed=zero, training=TWO_RANKS, **choices))
    done = workshop.on_ranks(cases)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, (stage, _, _) in zip(names, stages, strict=True):
        _same(workshop, name, f"alone-{name}", answers=stage == "sft")


def test_zero3_gives_the_losses_and_the_answers_of_one_process(workshop: Workshop) -> None:
    _compared(workshop, "zero3", STAGES[:4])


@pytest.mark.slow
def test_zero2_gives_the_losses_and_the_answers_of_one_process(workshop: Workshop) -> None:
    _compared(workshop, "zero2", STAGES)


@pytest.mark.slow
def test_zero3_of_flamingo_too(workshop: Workshop) -> None:
    _compared(workshop, "zero3", STAGES[4:])


KINDS: dict[str, list[int]] = {
    "one-rank-text-only": [0, 1, 0, 2, 0, 1],
    "text-in-turns": [1, 0, 0, 1, 2, 0],
    "no-images": [0] * 6,
    "five-in-one-sample": [5, 0, 0, 1, 1, 5],
    "odd-last-batch": [1, 0, 2, 1, 3],
}
"""Images of the samples, in the order in which they come: of rank 0, of rank 1, of rank 0 …; three steps."""
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "zero3-parrot": ("parrot", {}),
    "zero3-moe": ("parrot", {"moe": True}),
    "zero3-frozen-moe": ("parrot", {"frozen_moe": True}),
    "zero3-moe-lora": ("parrot", {"moe": True, "lora": True}),
    "zero3-half": ("parrot", {"moe": True, "training": {"bf16": True}}),
    "zero3-flamingo": ("flamingo", {}),
    "zero3-flamingo-lora": ("flamingo", {"lora": True}),
    "zero2-moe": ("parrot", {"moe": True}),
    "zero2-frozen-moe-lora": ("parrot", {"frozen_moe": True, "lora": True}),
    "zero2-flamingo-lora": ("flamingo", {"lora": True}),
}
MIXES = [(setting, kind) for setting in SETTINGS for kind in KINDS]
SOME = [
    ("zero3-half", "one-rank-text-only"),
    ("zero3-moe-lora", "text-in-turns"),
    ("zero3-flamingo", "no-images"),
    ("zero3-frozen-moe", "five-in-one-sample"),
    ("zero2-moe", "odd-last-batch"),
]
"""Each kind once."""


def _mixes(workshop: Workshop, mixes: list[tuple[str, str]], timeout: float) -> None:
    """All of them by one pair of ranks: starting it takes longer than a mix."""
    cases = []
    for setting, kind in mixes:
        architecture, choices = SETTINGS[setting]
        training = {**TWO_RANKS, "batch_size": 1, "gradient_checkpointing": True}
        case = choices | {
            "images": coming_in_order(KINDS[kind], batch=2),
            "deepspeed": setting.partition("-")[0],
            "chunk_bytes": 1,
            "training": training | choices.get("training", {}),
        }
        cases.append(workshop.case(f"{setting}-{kind}", "sft", architecture, **case))
    done = workshop.on_ranks(cases, timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    for setting, kind in mixes:
        name = f"{setting}-{kind}"
        assert len(workshop.losses(name)) == 3, name
        assert all(loss > 0 for loss in workshop.losses(name)), name
        assert {tensor.dtype for tensor in workshop.weights(name).values()} == {torch.float32}, name
        for rank, seen in enumerate(workshop.seen(name)):
            expected = KINDS[kind][rank::2]
            assert seen.pop("images")[: len(expected)] == expected, name
            assert seen == {"sharded": False, "gradients": False, "most_images": 1}, name


def test_zero_does_not_hang_whatever_the_ranks_have_in_their_batches(workshop: Workshop) -> None:
    _mixes(workshop, SOME, timeout=600)


@pytest.mark.slow
def test_zero_does_not_hang_with_any_mix(workshop: Workshop) -> None:
    others = [mix for mix in MIXES if mix not in SOME]
    assert len(SOME) + len(others) == 50
    _mixes(workshop, others, timeout=1200)
