"""What the Flamingo-style model learns: losses, gradients, golden numbers."""

import pytest
import torch
from flamingo_cases import BATCH, PROMPTS, build, new, together
from model_cases import (
    first_losses,
    with_labels,
)


@pytest.mark.parametrize("num_items", [None, torch.tensor(40)])
def test_loss_of_supervised_positions_only(num_items: torch.Tensor | None) -> None:
    model = build()
    inputs = with_labels(together("right"))
    results = []
    for supervised_only in (False, True):
        model.zero_grad()
        output = model(**inputs, supervised_only=supervised_only, num_items_in_batch=num_items)
        output.loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        results.append((output.loss, gradients))
    torch.testing.assert_close(results[1], results[0])
    assert all(f"model.{name}" in results[0][1] for name, _ in model.aligned().named_parameters())


def test_text_only_batch_with_no_rows_of_pixels_reaches_every_parameter() -> None:
    model = build()
    ids = torch.tensor([PROMPTS[0]])
    output = model(input_ids=ids, pixel_values=torch.zeros(0, 3, 28, 28), labels=ids)
    output.loss.backward()
    assert torch.equal(output.loss, model(input_ids=ids, labels=ids).loss)
    assert all(parameter.grad is not None for parameter in model.aligned().parameters())
    assert not any(parameter.grad.any() for parameter in model.model.perceiver_resampler.parameters())


def test_gradient_checkpointing_changes_nothing() -> None:
    BATCH.check_gradient_checkpointing(build)


def test_training_what_joins_reduces_the_loss() -> None:
    model = new().train()
    model.requires_grad_(False)
    model.aligned().requires_grad_(True)
    inputs = with_labels(together("right"))
    optimizer = torch.optim.AdamW(model.aligned().parameters(), lr=2e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# A refactor that changes a loss must be seen. Recorded on x86-64 with torch 2.13.
GOLDEN = [5.707915306, 5.693286419, 5.678638935, 5.663920403]


def test_golden_losses() -> None:
    assert first_losses(build(), with_labels(together("right"))) == pytest.approx(GOLDEN, rel=1e-5)
