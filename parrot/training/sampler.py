"""The order of samples, addressed by seed and epoch alone."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

_MEGABATCH = 50


class LengthGroupedSampler(Sampler[int]):
    """Batches of similar length, in random order; or, not `grouped`, of samples drawn at random.

    Samples are shuffled, cut into runs of 50 batches, and sorted by length within a run; then the
    batches are shuffled. Not grouped, they stay as they were shuffled: no rank always gets the longest.
    Unlike the sampler of transformers the order depends on `(seed, epoch)` and on no global state, which
    is what makes a resumed run exact.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, *, grouped: bool = True) -> None:
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.grouped = grouped
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator)
        if not self.grouped:
            yield from order.tolist()
            return
        full: list[torch.Tensor] = []
        rest: list[torch.Tensor] = []
        for run in torch.split(order, self.batch_size * _MEGABATCH):
            by_length = run[torch.argsort(self.lengths[run], descending=True, stable=True)]
            for batch in torch.split(by_length, self.batch_size):
                (full if len(batch) == self.batch_size else rest).append(batch)
        shuffled = torch.randperm(len(full), generator=generator)
        # Short batches (one per incomplete run) go last, so that every full batch stays aligned.
        yield from torch.cat([full[i] for i in shuffled] + rest).tolist()
