"""What libraries must be told of the machine before they look at it themselves. Imports nothing heavy."""

import os

SPINS = "10000"


def use_threads(threads: int) -> None:
    """Set OpenMP up; call it before torch is imported, which reads this once.

    The number is fixed because sums in another order are other bytes. How threads wait changes no
    byte: a thread that has nothing to do looks again for some microseconds, then sleeps. Left alone
    it would keep its core for milliseconds, from the thread it waits for if another program has the
    other core. What is in the environment already is kept.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # GNU's OpenMP: torch's on Linux
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # LLVM's: torch's on macOS; milliseconds


def hide_gpus() -> None:
    """Let this process and those that it starts compute on the CPU; call it before torch looks for a GPU."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def tell_deepspeed() -> None:
    """Say that there is no GPU where torch finds none; call it before a model is saved.

    transformers then imports DeepSpeed, which would look for itself and warn on stdout, of every stage.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
