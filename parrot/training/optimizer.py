"""Optimizers of the training runs, with a learning rate for each part of a model."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer


class MuonWithAdamW(Optimizer):
    """Muon for the matrices inside a network, AdamW for embeddings, heads, biases and norms.

    Muon orthogonalises the update of a matrix, which suits hidden layers and nothing else. Its rate
    is scaled to the size of an AdamW update, so that one learning rate serves both.
    """

    def __init__(self, muon: list[dict[str, Any]], adamw: list[dict[str, Any]]) -> None:
        self._optimizers: tuple[Optimizer, ...] = (
            Muon(muon, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
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


def muon_with_adamw(
    model: nn.Module, parts: Sequence[tuple[Sequence[nn.Parameter], float]], weight_decay: float
) -> MuonWithAdamW:
    """Split each part's parameters, given with its learning rate, between the two optimizers."""
    matrices = hidden_matrices(model)
    muon, adamw = [], []
    for parameters, learning_rate in parts:
        options = {"lr": learning_rate, "weight_decay": weight_decay}
        muon.append({"params": [p for p in parameters if p in matrices], **options})
        adamw.append({"params": [p for p in parameters if p not in matrices], **options})
    return MuonWithAdamW([g for g in muon if g["params"]], [g for g in adamw if g["params"]])


__all__ = ["MuonWithAdamW", "hidden_matrices", "muon_with_adamw"]
