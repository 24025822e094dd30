"""Packed rows: what a model makes of samples behind one another is what it makes of each alone."""

from itertools import pairwise
from typing import Any

import flamingo_cases
import pytest
import torch
from model_cases import BATCH, Build, with_labels

from parrot.training.packing import arrange, pack

FLAMINGO = flamingo_cases.BATCH
TOLERANCE: dict[str, float] = {"atol": 1e-5, "rtol": 1e-5}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def compare(model: Any, batch: Any, *, routed: bool) -> None:
    """Logits, loss and gradients of all samples packed and of each alone."""
    together = with_labels(batch.together("right"))
    packed = pack(together, batch.pictures)
    assert len(packed["input_ids"]) < len(batch.prompts), "nothing was packed"
    count = int((together["labels"][:, 1:] != -100).sum())
    model.eval()
    rows = model(**packed, num_items_in_batch=count)
    rows.loss.backward()
    found = gradients(model)
    model.zero_grad()
    losses, weights = [], []
    order = [sample for row in arrange([len(prompt) for prompt in batch.prompts]) for sample in row]
    pieces = [
        piece
        for row, ids in zip(rows.logits, packed["position_ids"], strict=True)
        for piece in torch.split(row, run_lengths(ids))
    ]
    real = iter(piece for piece, ids in zip(pieces, starts(packed), strict=True) if ids)
    for sample in order:
        inputs = with_labels(batch.alone(sample))
        alone = model(**inputs, num_items_in_batch=count)
        torch.testing.assert_close(next(real), alone.logits[0], **TOLERANCE)
        if (inputs["labels"][:, 1:] != -100).any():
            alone.loss.backward()
            losses.append(alone.loss.detach())
        if routed and alone.routing_weights is not None:
            weights.append(alone.routing_weights)
    torch.testing.assert_close(rows.loss.detach(), torch.stack(losses).sum(), **TOLERANCE)
    if routed:
        torch.testing.assert_close(rows.routing_weights, torch.cat(weights), **TOLERANCE)
    expected = gradients(model)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, **TOLERANCE, msg=name)


def run_lengths(position_ids: torch.Tensor) -> list[int]:
    begins = [*(position_ids == 0).nonzero()[:, 0].tolist(), len(position_ids)]
    return [end - begin for begin, end in pairwise(begins)]


def starts(packed: dict[str, torch.Tensor]) -> list[bool]:
    """Of each run of a row whether it is a sample, and not what is left of the row."""
    return [
        bool(run.any())
        for ids, positions in zip(packed["input_ids"], packed["position_ids"], strict=True)
        for run in torch.split(ids, run_lengths(positions))
    ]


@pytest.mark.parametrize("language", flamingo_cases.LANGUAGE_MODELS)
@pytest.mark.parametrize("experts", [0, 3])
def test_packing_parrot(build: Build, language: str, experts: int) -> None:
    model = build(flamingo_cases.LANGUAGE_MODELS[language](), num_experts=experts)
    compare(model, BATCH, routed=bool(experts))


@pytest.mark.parametrize("language", flamingo_cases.LANGUAGE_MODELS)
def test_packing_flamingo(language: str) -> None:
    compare(flamingo_cases.build(flamingo_cases.LANGUAGE_MODELS[language]()), FLAMINGO, routed=False)


@pytest.mark.parametrize("batch", [BATCH, FLAMINGO], ids=["parrot", "flamingo"])
def test_packing_keeps_every_sample_whole_and_its_pictures(batch: Any) -> None:
    together = with_labels(batch.together("right"))
    packed = pack(together, batch.pictures)
    order = [sample for row in arrange([len(prompt) for prompt in batch.prompts]) for sample in row]
    runs = [run for row, ids in zip(packed["input_ids"], packed["position_ids"], strict=True)
            for run in torch.split(row, run_lengths(ids))]  # fmt: skip
    samples = [run.tolist() for run in runs if run.any()]
    assert samples == [batch.prompts[sample] for sample in order]
    pictures = [batch.alone(sample)["pixel_values"] for sample in order if batch.pictures[sample]]
    assert torch.equal(packed["pixel_values"], torch.cat(pictures))


def test_packing_rows_are_no_longer_than_the_longest_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    for count in (1, 2, 17, 64):
        lengths = torch.randint(1, 500, (count,), generator=generator).tolist()
        rows = arrange(lengths)
        assert sorted(sample for row in rows for sample in row) == list(range(count))
        assert max(sum(lengths[sample] for sample in row) for row in rows) == max(lengths)
        assert len(rows) * max(lengths) < 1.25 * sum(lengths) + max(lengths)
