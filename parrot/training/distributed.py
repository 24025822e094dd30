"""What differs where several processes (ranks) train one model together; where one does, nothing."""

from typing import Any

import torch
from torch import distributed, nn
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled, unset_hf_deepspeed_config


def rank() -> int:
    """Of this process among those that train; the one of rank 0 tracks, shows progress and writes outputs."""
    return distributed.get_rank() if _many() else 0


def ranks() -> int:
    """How many processes train."""
    return distributed.get_world_size() if _many() else 1


def wait_for_all() -> None:
    """Go on when every rank has come here."""
    if _many():
        distributed.barrier()


def from_first(make: Any) -> Any:
    """What `make()` returns on rank 0, on every rank; the others do not call it."""
    made = [make() if rank() == 0 else None]
    if _many():
        distributed.broadcast_object_list(made)
    return made[0]


def join_deepspeed() -> None:
    """Make DeepSpeed use the ranks' connection. Without GPUs `TrainingArguments` leave that to `Trainer`,
    which is too late: a model is sharded as it is loaded."""
    import deepspeed

    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)


def gather_whole(model: nn.Module) -> None:
    """After a training: give rank 0 every parameter whole and in memory of its own, on the CPU.

    The other ranks are left with what they have, and models that are loaded from now on are whole. All
    ranks must call it. A model trained by one process without DeepSpeed stays as it is.
    """
    if not _many():
        return
    sharded = is_deepspeed_zero3_enabled()
    for parameter in model.parameters():
        whole = _gathered(parameter) if sharded else parameter.detach()
        if rank() == 0:
            # ZeRO-2 leaves views of one long tensor, ZeRO-3 lets go of what it has gathered: hence a copy.
            parameter.data = whole.to("cpu", copy=True)
    unset_hf_deepspeed_config()


def _gathered(parameter: nn.Parameter) -> torch.Tensor:
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter]):
        return parameter.detach().clone()


def _many() -> bool:
    return distributed.is_available() and distributed.is_initialized()


__all__ = ["from_first", "gather_whole", "join_deepspeed", "rank", "ranks", "wait_for_all"]
