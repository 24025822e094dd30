"""What a batch has where is found on the CPU, so that a forward pass waits for no accelerator."""

from collections import Counter
from typing import Any

import flamingo_cases
import pytest
import torch
from model_cases import BATCH, Build, with_labels
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from parrot.model.places import IGNORE_INDEX, flat_places, next_labels, places_of
from parrot.training.packing import pack, samples_apart


class Waits(TorchDispatchMode):
    """Counts the operations whose result a host has to know before it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            isinstance(one, torch.Tensor) and one.dtype in (torch.bool, torch.uint8)
            for one in tree_leaves(args[1])
        )
        if by_mask or name in (
            "nonzero",
            "_local_scalar_dense",
            "masked_select",
            "bincount",
            "equal",
            "unique",
        ):
            self.counted[name] += 1
        return func(*args, **(kwargs or {}))


def placed(model: Any, batch: dict[str, Any], length: int) -> dict[str, Any]:
    """As the collator gives it."""
    labels = batch["labels"]
    places = places_of(
        batch["input_ids"], model.config.image_token_id, length, len(batch["pixel_values"]),
        attention_mask=batch.get("attention_mask"), position_ids=batch.get("position_ids"),
        prompt_mask=labels == IGNORE_INDEX,
    )  # fmt: skip
    return {**batch, "places": places | {"supervised": flat_places(next_labels(labels) != IGNORE_INDEX)}}


def losses(model: Any, batch: dict[str, Any], places: bool) -> tuple[Counter[str], list[torch.Tensor]]:
    """What a pass forward and backward waits for, its loss and its gradients."""
    model.train()
    model.zero_grad()
    given = placed(model, batch, model.config.image_seq_length) if places else batch
    with samples_apart(model.model.language_model), Waits() as waits:
        loss = model(**given, num_items_in_batch=7).loss
        loss.backward()
    return waits.counted, [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("experts", [0, 3])
def test_a_packed_pass_waits_for_nothing_and_computes_the_same(build: Build, experts: int) -> None:
    model = build(num_experts=experts)
    batch = pack(with_labels(BATCH.together("right")))
    waits, found = losses(model, batch, places=True)
    assert not waits
    waits, expected = losses(model, batch, places=False)
    assert waits
    assert len(found) == len(expected)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_packed_pass_of_the_flamingo_style_model_computes_the_same() -> None:
    model = flamingo_cases.build()
    batch = pack(with_labels(flamingo_cases.BATCH.together("right")))
    waits, found = losses(model, batch, places=True)
    more, expected = losses(model, batch, places=False)
    assert waits.total() < more.total()
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_places_of_a_padded_batch(build: Build) -> None:
    model = build(num_experts=3)
    batch = with_labels(BATCH.together("right"))
    given = placed(model, batch, model.config.image_seq_length)
    model.train()
    assert torch.equal(model(**given).loss, model(**batch).loss)
    ids = batch["input_ids"].flatten()
    assert (ids[given["places"]["images"]] == model.config.image_token_id).all()
    assert (batch["labels"].flatten()[given["places"]["prompt"]] == IGNORE_INDEX).all()


def test_images_that_are_not_there_are_told_by_who_looks_for_places() -> None:
    ids = torch.tensor([[1, 9, 9, 2]])
    assert places_of(ids, 9, 2, 1)["image_samples"].tolist() == [0]
    with pytest.raises(ValueError, match="2 images of 2 positions each need 4 image positions"):
        places_of(ids, 9, 2, 2)
