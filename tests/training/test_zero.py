"""Two ranks under DeepSpeed: the losses and the answers of one process, whatever their batches hold."""

from typing import Any

import pytest
import torch
from rank_cases import Workshop

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
    "without-deepspeed": {"training": TWO_RANKS},
    "half": {"deepspeed": "zero3", "training": {**TWO_RANKS, "bf16": True}},
}  # fmt: skip


@pytest.mark.slow
def test_zero_accumulates_checkpoints_and_chunks_and_ranks_train_without_it(workshop: Workshop) -> None:
    workshop.alone(workshop.case("one", "sft", "parrot", moe=True))
    cases = [workshop.case(name, "sft", "parrot", moe=True, **choices) for name, choices in OTHERS.items()]
    done = workshop.on_ranks(cases)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("accumulated", "chunked", "without-deepspeed"):
        _same(workshop, name, "one", answers=True)
    assert {tensor.dtype for tensor in workshop.weights("half").values()} == {torch.bfloat16}
    assert workshop.losses("half") == pytest.approx(workshop.losses("one"), rel=0.02)


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


MIXES: dict[str, list[int]] = {
    "one-rank-text-only": [0, 0, 1, 1] * 3,  # per batch of two samples a rank, whatever the shuffling gives
    "no-images": [0] * 8,
    "five-in-one-sample": [5, 0, 0, 1] * 2,
    "odd-last-batch": [0, 1, 2, 1, 0, 3, 1],
}


def _mixes(workshop: Workshop, zero: str, architecture: str, choices: dict[str, Any]) -> None:
    prefix = f"{zero}-{architecture}-{'-'.join(choices)}"
    training = {**TWO_RANKS, "batch_size": 1}  # so that a rank has text only as often as there is a text
    cases = [
        workshop.case(
            f"{prefix}-{name}",
            "sft",
            architecture,
            images=images,
            deepspeed=zero,
            training=training,
            chunk_bytes=1,
            **choices,
        )
        for name, images in MIXES.items()
    ]
    done = workshop.on_ranks(cases)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in MIXES:
        assert len(workshop.losses(f"{prefix}-{name}")) == 3


def test_zero3_does_not_hang_whatever_the_ranks_have_in_their_batches(workshop: Workshop) -> None:
    _mixes(workshop, "zero3", "parrot", {"moe": True})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "choices"),
    [
        ("parrot", {}),
        ("parrot", {"lora": True, "moe": True}),
        ("flamingo", {}),
        ("flamingo", {"lora": True}),
    ],
    ids=str,
)
@pytest.mark.parametrize("zero", ["zero2", "zero3"])
def test_zero_does_not_hang(
    workshop: Workshop, zero: str, architecture: str, choices: dict[str, Any]
) -> None:
    _mixes(workshop, zero, architecture, choices)
