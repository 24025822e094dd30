"""Answering all chunks, in this process or in several, each on an accelerator of its own if there are."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from parrot import loading
from parrot.errors import ParrotError
from parrot.evaluation.inference.batches import InferenceRun, answer_chunk
from parrot.evaluation.inference.chunks import Chunk
from parrot.evaluation.samples import predicted_row
from parrot.loading import load_processor

Answering = Callable[[Chunk, Mapping[bytes, bytes]], list[dict[str, Any]]]
"""From a chunk, and the pictures to show in place of its own, to a row for each question: `predicted_row`,
and the experts' weights."""


def answer_chunks(
    model_dir: Path,
    runs: Sequence[InferenceRun],
    chunks: Sequence[Chunk],
    swapped: Mapping[bytes, bytes],
    *,
    batch_size: int,
    processes: int,
) -> Iterator[list[dict[str, Any]]]:
    """Yields the rows of each chunk as it is done, in any order.

    Args:
        swapped: the picture that a run with swapped pictures shows in a picture's place.
    """
    processes = min(processes, len(chunks))
    if processes <= 1:
        if chunks:
            answer = _worker(model_dir, 0, runs, batch_size)
            yield from (answer(chunk, swapped) for chunk in chunks)
        return
    context = multiprocessing.get_context("spawn")
    numbers = context.Queue()
    for number in range(processes):
        numbers.put(number)
    threads = max(1, torch.get_num_threads() // processes)
    start = (model_dir, runs, batch_size, threads, numbers)
    with ProcessPoolExecutor(processes, context, _start, start) as pool:
        futures = [
            pool.submit(_answer, chunk, {q.image: swapped[q.image] for q in chunk} if swapped else {})
            for chunk in chunks
        ]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise ParrotError(
                f"speed.inference_processes: one of {processes} processes has ended; see its message above, "
                f"or take fewer if memory ran out"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _worker(model_dir: Path, number: int, runs: Sequence[InferenceRun], batch_size: int) -> Answering:
    """A model, ready to answer chunks."""
    model, processor = load_model(model_dir, number)

    def answer(chunk: Chunk, swapped: Mapping[bytes, bytes]) -> list[dict[str, Any]]:
        samples = answer_chunk(model, processor, chunk, runs, batch_size=batch_size, swapped=swapped)
        return [{**predicted_row(sample), "routing": sample.routing} for sample in samples]

    return answer


_answering: Answering
"""Of a process of the pool."""


def _start(
    model_dir: Path, runs: Sequence[InferenceRun], batch_size: int, threads: int, numbers: Any
) -> None:
    global _answering
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _answering = _worker(model_dir, numbers.get(), runs, batch_size)


def _answer(chunk: Chunk, swapped: Mapping[bytes, bytes]) -> list[dict[str, Any]]:
    return _answering(chunk, swapped)


def _end_with_parent() -> None:
    """A killed parent cannot stop its pool."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def load_model(model_dir: Path, number: int = 0) -> tuple[Any, Any]:
    """The model, ready for inference on one of the accelerators if there are any, and its processor."""
    processor = load_processor(model_dir)
    model = loading.load_model(model_dir, dtype="auto")
    accelerators = torch.cuda.device_count()
    return model.to(f"cuda:{number % accelerators}" if accelerators else "cpu"), processor
