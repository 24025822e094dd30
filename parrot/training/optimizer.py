"""Muon for the matrices inside a network and AdamW for the rest, as one optimizer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, steepest at zero; published with the method."""
ITERATIONS = 5


class DeviceMuon(Muon):
    """torch's Muon, in the precision that the device is fast in.

    torch always orthogonalises in bfloat16. A CPU without AVX-512 multiplies that in a reference loop,
    which takes most of a training step; on every CPU, so that none has other numbers, it is float32 here.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            decay, momentum = 1 - group["lr"] * group["weight_decay"], group["momentum"]
            matrices: list[Tensor] = []
            gradients: list[Tensor] = []
            averages: list[Tensor] = []
            self._init_group(group, matrices, gradients, averages)
            for matrix, gradient, average in zip(matrices, gradients, averages, strict=True):
                average.lerp_(gradient, 1 - momentum)
                update = orthogonalise(gradient.lerp(average, momentum), precision(matrix.device))
                # As long as an AdamW update is, on average (arXiv 2502.16982, section 2.2).
                rate = group["lr"] * 0.2 * max(matrix.shape) ** 0.5
                matrix.mul_(decay).add_(update, alpha=-rate)


def precision(device: torch.device) -> torch.dtype:
    """The type that matrices are multiplied in fast and that suits orthogonalisation."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32


def orthogonalise(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Move all singular values of `matrix` [rows, columns] near one, by Newton-Schulz iterations in `dtype`.

    Muon's (https://kellerjordan.github.io/posts/muon): the values end between about 0.7 and 1.2.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    result = (matrix.T if tall else matrix).to(dtype)
    result = result / result.norm().clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = result @ result.T
        result = torch.addmm(result, torch.addmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return result.T if tall else result


class MuonWithAdamW(Optimizer):
    """Muon for the matrices inside a network, AdamW for embeddings, heads, biases and norms.

    Muon orthogonalises the update of a matrix, which suits hidden layers and nothing else. Its rate
    is scaled to the size of an AdamW update, so that one learning rate serves both.
    """

    def __init__(self, muon: list[dict[str, Any]], adamw: list[dict[str, Any]]) -> None:
        self._optimizers: tuple[Optimizer, ...] = (
            DeviceMuon(muon, momentum=0.95),
            AdamW(adamw, fused=True),
        )
        super().__init__(self._groups(), {})
        # The same dicts as in the two optimizers: a scheduler that sets rates here sets them there.
        self.param_groups = self._groups()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for optimizer in self._optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {"optimizers": [optimizer.state_dict() for optimizer in self._optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for optimizer, state in zip(self._optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = self._groups()


def hidden_matrices(model: nn.Module) -> set[Tensor]:
    """The weights of linear layers, but for the head, whose rows stand for tokens as an embedding's do."""
    rows_of_tokens = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    heads = {
        module.weight for name, module in model.named_modules() if name.endswith(("lm_head", "classifier"))
    }
    linear = {module.weight for module in model.modules() if isinstance(module, nn.Linear)}
    return linear - rows_of_tokens - heads


def muon_with_adamw(model: nn.Module, groups: Sequence[dict[str, Any]]) -> MuonWithAdamW:
    """Split the `params` of each of torch's parameter groups between the two optimizers."""
    matrices = hidden_matrices(model)
    muon = [{**group, "params": [p for p in group["params"] if p in matrices]} for group in groups]
    adamw = [{**group, "params": [p for p in group["params"] if p not in matrices]} for group in groups]
    return MuonWithAdamW([g for g in muon if g["params"]], [g for g in adamw if g["params"]])
