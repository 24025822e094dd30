"""What differs where several processes (ranks) train one model together; where one does, nothing."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, distributed, nn
from transformers import TrainingArguments
from transformers.integrations.deepspeed import (
    deepspeed_config,
    is_deepspeed_zero3_enabled,
    set_hf_deepspeed_config,
    unset_hf_deepspeed_config,
)

from parrot.files import atomic_directory


def rank() -> int:
    """Of this process among those that train; the one of rank 0 tracks, shows progress and writes outputs."""
    return distributed.get_rank() if _many() else 0


def ranks() -> int:
    """How many processes train."""
    return distributed.get_world_size() if _many() else 1


def join_ranks() -> None:
    """Connect this process with those that were started with it, if any, before a `Trainer` does so."""
    PartialState(cpu=not torch.cuda.is_available())


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


def from_all(mine: Any) -> list[Any]:
    """What each rank calls this with, by rank; all ranks must call it."""
    if not _many():
        return [mine]
    gathered: list[Any] = [None] * ranks()
    distributed.all_gather_object(gathered, mine)
    return gathered


@contextmanager
def placed_by_first_rank(output: Path) -> Iterator[Path | None]:
    """As `atomic_directory` on rank 0; None on the others, which wait until it is in its place."""
    if rank() == 0:
        with atomic_directory(output) as folder:
            yield folder
    else:
        yield None
    wait_for_all()


def join_deepspeed() -> None:
    """Make DeepSpeed use the ranks' connection. Without GPUs `TrainingArguments` leave that to `Trainer`,
    which is too late: a model is sharded as it is loaded."""
    import deepspeed

    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)


@contextmanager
def whole_on_each_rank(arguments: TrainingArguments) -> Iterator[None]:
    """What is loaded in this block is not sharded, not even with ZeRO-3."""
    if not is_deepspeed_zero3_enabled():
        yield
        return
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        set_hf_deepspeed_config(arguments.hf_deepspeed_config)


@contextmanager
def frozen_apart(parent: nn.Module, name: str, arguments: TrainingArguments) -> Iterator[None]:
    """While DeepSpeed trains `parent`, it does not see its frozen module `name`, which computes all the same.

    DeepSpeed would cut it up as well and gather it anew for every chunk of images, would write it into each
    checkpoint, and would give it back in bfloat16. So a copy in the precision of the training, no submodule
    to torch, takes its place; afterwards the module itself is there again, as it was read.
    """
    if not arguments.deepspeed:
        yield
        return
    module = parent.get_submodule(name)
    dtype = torch.bfloat16 if arguments.bf16 else torch.float32
    computing = deepcopy(module).requires_grad_(False).to(arguments.device, dtype)
    setattr(parent, name, None)
    parent.__dict__[name] = computing
    try:
        yield
    finally:
        setattr(parent, name, module)


def gather_whole(model: nn.Module, learned: Collection[nn.Parameter]) -> None:
    """After a training: give rank 0 every parameter whole, in float32 and in memory of its own, on the CPU.

    What was `learned` comes from the optimizer's float32, also where the ranks computed in bfloat16. The
    other ranks are left with what they have, and models that are loaded from now on are whole. All ranks
    must call it, while the trainer still exists: DeepSpeed's optimizer goes with it. A model trained by one
    process without DeepSpeed stays as it is.
    """
    if not _many():
        return
    learned = set(learned)
    for parameter in model.parameters():
        whole = _whole(parameter, parameter in learned)
        if rank() == 0:
            dtype = torch.float32 if whole.is_floating_point() else whole.dtype  # four bits stay so
            # ZeRO-2 leaves views of one long tensor, ZeRO-3 lets go of what it has gathered: hence a copy.
            parameter.data = whole.to("cpu", dtype, copy=True)
    unset_hf_deepspeed_config()


def _whole(parameter: nn.Parameter, learned: bool) -> Tensor:
    if deepspeed_config() is None:
        return parameter.detach()
    import deepspeed

    if learned:
        master: Tensor = deepspeed.utils.safe_get_full_fp32_param(parameter)
        return master
    if not is_deepspeed_zero3_enabled():
        return parameter.detach()
    with deepspeed.zero.GatheredParameters([parameter]):
        return parameter.detach().clone()


def _many() -> bool:
    return distributed.is_available() and distributed.is_initialized()
