"""Seeing what is computed in half precision."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

HALVES = (torch.float16, torch.bfloat16)


class Halves(TorchDispatchMode):
    """Notes each operation that makes a tensor in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = result if isinstance(result, tuple | list) else [result]
        if any(isinstance(tensor, Tensor) and tensor.dtype in HALVES for tensor in made):
            self.seen.add(str(func))
        return result
