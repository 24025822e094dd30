"""How much of a batch is computed at once where its parts do not see each other."""

import sys

import torch

CPU_BYTES = 2**24
"""Larger tensors leave the caches, and are paged in anew by every operation."""
ACCELERATOR_BYTES = 2**30
"""Enough to fill it, and little beside its memory."""


def images_at_once(bytes_per_image: int, device: torch.device) -> int:
    """Of how many images the widest intermediate tensor stays within bounds; at least one.

    All of them in a distributed run, where every rank has to call every module as often as the others.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return sys.maxsize
    bound = CPU_BYTES if device.type == "cpu" else ACCELERATOR_BYTES
    return max(1, bound // max(1, bytes_per_image))


__all__ = ["images_at_once"]
