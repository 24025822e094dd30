"""Muon in the precision that a device is fast in, beside torch's own."""

from typing import Any

import pytest
import torch
from halves import Halves
from torch import Tensor, nn
from torch.optim import Muon

from parrot.training.optimizer import DeviceMuon, muon_with_adamw, orthogonalise, precision


def steps(optimizer_class: Any, shape: tuple[int, int], number: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    matrix = nn.Parameter(torch.randn(shape, generator=generator))
    optimizer = optimizer_class([matrix], lr=0.1, weight_decay=0.01, momentum=0.95)
    for group in optimizer.param_groups:
        group["adjust_lr_fn"] = "match_rms_adamw"
    for _ in range(number):
        matrix.grad = torch.randn(shape, generator=generator)
        optimizer.step()
    return matrix.detach()


@pytest.mark.parametrize("shape", [(24, 24), (8, 40), (40, 8)])
def test_it_does_what_torchs_does_but_for_its_rounding(shape: tuple[int, int]) -> None:
    ours, theirs = (steps(kind, shape, 5) for kind in (DeviceMuon, Muon))
    start = steps(Muon, shape, 0)
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


def test_singular_values_end_near_one() -> None:
    matrix = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix, torch.float32))
    assert values.min() > 0.6 and values.max() < 1.3


def test_nothing_is_in_half_precision_on_a_cpu() -> None:
    with Halves() as torchs:
        steps(Muon, (8, 8), 1)
    assert torchs.seen, "the test sees nothing"
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    optimizer = muon_with_adamw(
        model, [{"params": list(model.parameters()), "lr": 0.01, "weight_decay": 0.1}]
    )
    with Halves() as ours:
        model(torch.ones(3, 4)).sum().backward()
        optimizer.step()
    assert not ours.seen


def test_precision_depends_on_the_kind_of_device_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert precision(torch.device("cpu")) == torch.float32
    assert precision(torch.device("cuda")) == torch.bfloat16
    # A V100 has bfloat16 by emulation alone.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert precision(torch.device("cuda")) == torch.float32
