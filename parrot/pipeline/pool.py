"""Processes beside this one that share its work, and end with it."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from parrot.errors import ParrotError


@contextmanager
def process_pool(
    number: int, setting: str, initializer: Callable[..., object] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool of `number` spawned processes; `setting` is the parameter that says how many.

    Args:
        initializer: called in each process first, with `arguments`.

    Raises:
        ParrotError: a process has ended.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(number, context, _start, (initializer, *arguments)) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise ParrotError(
                f"{setting}: one of {number} processes has ended; see its message above, "
                f"or take fewer if memory ran out"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start(initializer: Callable[..., object] | None, *arguments: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer:
        initializer(*arguments)


def _end_with_parent() -> None:
    """A killed parent cannot stop its pool."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
