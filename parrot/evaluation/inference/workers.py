"""Answering all shares, in this process or in several, each on an accelerator of its own if there are."""

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from parrot import loading
from parrot.config import Evaluate
from parrot.errors import ParrotError
from parrot.evaluation.inference.benchmark import read_benchmark
from parrot.evaluation.inference.inference import AnsweredQuestion, Run, answer_share
from parrot.evaluation.inference.shares import Share, cut, swap
from parrot.loading import load_processor


@dataclass(frozen=True)
class Task:
    """What every process needs to know; the shares themselves follow from it."""

    params: Evaluate
    languages: Sequence[str]
    seed: int
    runs: Sequence[Run]
    model_dir: Path


class Worker:
    """A model, and the questions that it answers."""

    def __init__(self, task: Task, shares: Sequence[Share], number: int = 0) -> None:
        self._task = task
        self._shares = {share.number: share for share in shares}
        images = [asked.question.image for share in shares for asked in share.asked]
        swaps = any(run.picture == "swapped" for run in task.runs)
        self._swapped = swap(images, task.seed) if swaps else {}
        self._model, self._processor = load_model(task.model_dir, number)

    def answer(self, number: int) -> list[AnsweredQuestion]:
        """Answer the share of this number."""
        return answer_share(
            self._model,
            self._processor,
            self._shares[number],
            self._task.runs,
            batch_size=self._task.params.batch_size,
            swapped=self._swapped,
        )


def answer_shares(
    task: Task, shares: Sequence[Share], waiting: Sequence[int]
) -> Iterator[tuple[int, list[AnsweredQuestion]]]:
    """Answer those of all `shares` whose numbers are `waiting`; yields each as it is done, in any order."""
    if not waiting:
        return
    processes = min(task.params.processes, len(waiting))
    if processes == 1:
        worker = Worker(task, shares)
        for number in waiting:
            yield number, worker.answer(number)
        return
    context = multiprocessing.get_context("spawn")
    numbers = context.Queue()
    for number in range(processes):
        numbers.put(number)
    threads = max(1, torch.get_num_threads() // processes)
    with ProcessPoolExecutor(processes, context, _start, (task, numbers, threads)) as pool:
        futures = {pool.submit(_answer, number): number for number in waiting}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise ParrotError(
                f"evaluate.processes: one of {processes} processes has ended; see its message above, or "
                f"take fewer if memory ran out"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


_worker: Worker
"""Of a process of the pool."""


def _start(task: Task, numbers: Any, threads: int) -> None:
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    benchmark = read_benchmark(task.params, task.languages)
    _worker = Worker(task, cut(benchmark, task.params.batch_size), numbers.get())


def _answer(number: int) -> list[AnsweredQuestion]:
    return _worker.answer(number)


def _end_with_parent() -> None:
    """A killed parent cannot stop its pool."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def load_model(model_dir: Path, number: int = 0) -> tuple[Any, Any]:
    """The model, ready to be asked on one of the accelerators if there are any, and its processor."""
    processor = load_processor(model_dir)
    model = loading.load_model(model_dir, dtype="auto")
    accelerators = torch.cuda.device_count()
    return model.to(f"cuda:{number % accelerators}" if accelerators else "cpu"), processor
