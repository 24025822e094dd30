"""How much of a batch is computed at once where its parts do not see each other."""

import torch
from torch import distributed

CPU_BYTES = 2**24
"""Larger tensors leave the caches, and are paged in anew by every operation."""
ACCELERATOR_BYTES = 2**30
"""Enough to fill it, and little beside its memory."""


def chunk_sizes(count: int, bytes_per_image: int, device: torch.device, *, training: bool) -> list[int]:
    """Into which chunks `count` images are split so that the widest intermediate tensor stays within bounds.

    There is at least one chunk. In a distributed training every rank has to call every module as often as
    the others: one with fewer images has as many chunks as they, the last of them of no images. Otherwise
    in a distributed run it is one chunk, because nobody knows what the other ranks do.
    """
    bound = CPU_BYTES if device.type == "cpu" else ACCELERATOR_BYTES
    at_once = max(1, bound // max(1, bytes_per_image))
    chunks = max(1, -(-count // at_once))
    if distributed.is_available() and distributed.is_initialized():
        if not training:
            return [count]
        most = torch.tensor(chunks, device=device)
        distributed.all_reduce(most, distributed.ReduceOp.MAX)
        chunks = int(most)
    return [max(0, min(at_once, count - begin)) for begin in range(0, chunks * at_once, at_once)]
