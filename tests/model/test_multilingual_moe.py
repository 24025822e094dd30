"""The batched experts against the definition, written as loops."""

import pytest
import torch
from torch.nn.functional import silu, softmax

from parrot.model.configuration_parrot import ParrotConfig
from parrot.model.multilingual_moe import MultilingualMoe

EXPERTS, UNITS, HIDDEN = 4, 6, 16


def make(**options: object) -> MultilingualMoe:
    torch.manual_seed(0)
    text_config = {"hidden_size": HIDDEN, "num_attention_heads": 2}
    sizes = {"num_experts": EXPERTS, "moe_intermediate_size": UNITS}
    return MultilingualMoe(ParrotConfig(text_config=text_config, **{**sizes, **options}))  # type: ignore[arg-type]


def by_loops(
    moe: MultilingualMoe, features: torch.Tensor, prompts: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """One image [L, H] after the other, with the prompt [P, H] of its sample; one expert after the other."""
    outputs, all_weights = [], []
    for image, prompt in zip(features, prompts, strict=True):
        attention = softmax(prompt @ image[0] / HIDDEN**0.5, dim=0)
        weights = softmax(moe.gate.weight @ (attention @ prompt), dim=0)
        chosen = weights.argsort(descending=True)[: moe.top_k].tolist()
        mixture = torch.zeros_like(image)
        for expert in chosen:
            units = slice(expert * UNITS, (expert + 1) * UNITS)
            gate, up = moe.gate_proj.weight[units], moe.up_proj.weight[units]
            hidden = silu(image @ gate.T) * (image @ up.T)
            mixture += weights[expert] * (hidden @ moe.down_proj.weight[:, units].T)
        form = {
            "token": image + moe.weight * mixture,
            "released": moe.weight * image + mixture,
            "none": mixture,
        }
        outputs.append(form[moe.residual])
        all_weights.append(weights)
    return torch.stack(outputs), torch.stack(all_weights)


@pytest.mark.parametrize("residual", ["token", "released", "none"])
@pytest.mark.parametrize("top_k", [None, 1, 2, EXPERTS])
def test_equals_the_loops(residual: str, top_k: int | None) -> None:
    moe = make(moe_residual=residual, moe_weight=0.3, moe_top_k=top_k)
    features = torch.randn(3, 5, HIDDEN)
    prompts = [torch.randn(length, HIDDEN) * 3 for length in (4, 7)]
    # Images one and three belong to sample 1, image two to sample 0.
    samples = torch.tensor([1, 0, 1])
    output, weights = moe(
        features, samples, torch.cat(prompts), torch.tensor([0] * 4 + [1] * 7)
    )  # fmt: skip
    expected, expected_weights = by_loops(moe, features, [prompts[sample] for sample in samples.tolist()])
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(weights, expected_weights)


def test_some_images_at_a_time_are_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features, samples = torch.randn(5, 5, HIDDEN, requires_grad=True), torch.tensor([0, 0, 1, 1, 1])
    prompts = torch.randn(7, HIDDEN), torch.tensor([0, 0, 0, 1, 1, 1, 1])
    results = []
    for chunk_bytes in (2**24, 1):  # all five, and one after the other
        monkeypatch.setattr("parrot.model.chunking.CPU_BYTES", chunk_bytes)
        moe = make()
        output, _ = moe(features, samples, *prompts)
        gradients = torch.autograd.grad(output.square().sum(), [features, *moe.parameters()])
        results.append((output, *gradients))
    torch.testing.assert_close(*results)


def test_no_image_is_none() -> None:
    no_image = torch.empty(0, 5, HIDDEN), torch.empty(0, dtype=torch.long)
    output, weights = make()(*no_image, torch.randn(3, HIDDEN), torch.zeros(3).long())
    assert output.shape == (0, 5, HIDDEN)
    assert weights.shape == (0, EXPERTS)


def test_all_experts_chosen_is_the_dense_mixture() -> None:
    inputs = (
        torch.randn(2, 5, HIDDEN),
        torch.tensor([0, 1]),
        torch.randn(6, HIDDEN),
        torch.tensor([0, 0, 0, 1, 1, 1]),
    )
    assert torch.equal(make()(*inputs)[0], make(moe_top_k=EXPERTS)(*inputs)[0])


def test_one_chosen_expert_leaves_the_gate_a_gradient() -> None:
    moe = make(moe_top_k=1)
    moe(torch.randn(1, 5, HIDDEN), torch.tensor([0]), torch.randn(3, HIDDEN), torch.zeros(3).long())[
        0
    ].sum().backward()
    assert moe.gate.weight.grad is not None
    assert moe.gate.weight.grad.abs().sum() > 0
