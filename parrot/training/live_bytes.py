"""Which bytes of tensors are alive, and of what, at the moment when there are most."""

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts every storage that an operation makes while this is active, until nothing refers to it.

    Tensors on `meta` have sizes and no memory: a step of a model that fits nowhere is counted as well.
    """

    def __init__(self, part_of: Callable[[Tensor], str]) -> None:
        """`part_of` names what a new tensor belongs to."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._part_of = part_of
        self._known: dict[int, tuple[str, int]] = {}
        self.live: Counter[str] = Counter()
        """Bytes by part, now."""
        self.peak: Counter[str] = Counter()
        """Bytes by part when there were most."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.count(tensor, None)
        return made

    def count(self, tensor: Tensor, part: str | None) -> None:
        """Count a tensor if it is not known yet; `part` puts it there, known or not."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            self._known[key] = (part or self._part_of(tensor), storage.nbytes())
            weakref.finalize(storage, self._gone, key).atexit = False
            self.live[self._known[key][0]] += storage.nbytes()
        elif part:
            before, size = self._known[key]
            self._known[key] = (part, size)
            self.live[before] -= size
            self.live[part] += size
        if self.live.total() > self.peak.total():
            self.peak = self.live.copy()

    def _gone(self, key: int) -> None:
        part, size = self._known.pop(key)
        self.live[part] -= size
