"""Packed rows: what a model makes of samples behind one another is what it makes of each alone."""

from contextlib import nullcontext
from typing import Any

import flamingo_cases
import pytest
import torch
from model_cases import BATCH, Build, with_labels

from parrot.training.packing import ATTENTION, pack, samples_apart

FLAMINGO = flamingo_cases.BATCH
TOLERANCE: dict[str, float] = {"atol": 1e-5, "rtol": 1e-5}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def compare(model: Any, batch: Any, *, routed: bool, by_mask: bool, checkpointing: bool = False) -> None:
    """Logits, loss and gradients of all samples packed and of each alone."""
    together = with_labels(batch.together("right"))
    packed = pack(together)
    count = int((together["labels"][:, 1:] != -100).sum())
    if checkpointing:
        model.train()
        model.activation_checkpointing_enable()
    else:
        model.eval()
    with nullcontext() if by_mask else samples_apart(model.model.language_model):
        row = model(**packed, num_items_in_batch=count, supervised_only=False)
        row.loss.backward()
    model.activation_checkpointing_disable()
    model.eval()
    found = gradients(model)
    model.zero_grad()
    losses, weights = [], []
    pieces = torch.split(row.logits[0], [len(prompt) for prompt in batch.prompts])
    for sample, piece in enumerate(pieces):
        inputs = with_labels(batch.alone(sample))
        alone = model(**inputs, num_items_in_batch=count)
        torch.testing.assert_close(piece, alone.logits[0], **TOLERANCE)
        if (inputs["labels"][:, 1:] != -100).any():
            alone.loss.backward()
            losses.append(alone.loss.detach())
        if routed and alone.routing_weights is not None:
            weights.append(alone.routing_weights)
    torch.testing.assert_close(row.loss.detach(), torch.stack(losses).sum(), **TOLERANCE)
    if routed:
        torch.testing.assert_close(row.routing_weights, torch.cat(weights), **TOLERANCE)
    expected = gradients(model)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, **TOLERANCE, msg=name)


@pytest.mark.parametrize("by_mask", [False, True])
@pytest.mark.parametrize("language", flamingo_cases.LANGUAGE_MODELS)
@pytest.mark.parametrize("experts", [0, 3])
def test_packing_parrot(build: Build, language: str, experts: int, by_mask: bool) -> None:
    model = build(flamingo_cases.LANGUAGE_MODELS[language](), num_experts=experts)
    compare(model, BATCH, routed=bool(experts), by_mask=by_mask)


@pytest.mark.parametrize("by_mask", [False, True])
@pytest.mark.parametrize("language", flamingo_cases.LANGUAGE_MODELS)
def test_packing_flamingo(language: str, by_mask: bool) -> None:
    model = flamingo_cases.build(flamingo_cases.LANGUAGE_MODELS[language]())
    compare(model, FLAMINGO, routed=False, by_mask=by_mask)


def test_packing_with_what_is_computed_again(build: Build) -> None:
    compare(build(num_experts=3), BATCH, routed=True, by_mask=False, checkpointing=True)


@pytest.mark.parametrize("batch", [BATCH, FLAMINGO], ids=["parrot", "flamingo"])
def test_packing_keeps_every_sample_whole_and_its_pictures(batch: Any) -> None:
    together = with_labels(batch.together("right"))
    packed = pack(together)
    lengths = [len(prompt) for prompt in batch.prompts]
    assert packed["input_ids"].shape == (1, sum(lengths)), "a position is padding, or lost"
    samples = torch.split(packed["input_ids"][0], lengths)
    assert [sample.tolist() for sample in samples] == list(batch.prompts)
    starts = [ids.tolist() for ids in torch.split(packed["position_ids"][0], lengths)]
    assert starts == [list(range(length)) for length in lengths]
    assert torch.equal(packed["pixel_values"], together["pixel_values"])


def test_packing_takes_one_row_and_gives_the_models_own_attention_back(build: Build) -> None:
    model = build(num_experts=0).model
    with samples_apart(model.language_model):
        assert model.language_model.config._attn_implementation == ATTENTION
        with pytest.raises(ValueError, match="not a batch of"):
            model(**BATCH.together("right"))
    assert model.language_model.config._attn_implementation == "sdpa"
