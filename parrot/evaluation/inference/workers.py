"""Answering all chunks, in this process or in several, each on an accelerator of its own if there are."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from parrot import loading
from parrot.evaluation.inference.batches import Inference, InferenceRun
from parrot.evaluation.inference.chunks import Chunk
from parrot.evaluation.samples import predicted_row
from parrot.loading import load_processor
from parrot.pipeline.pool import process_pool

_inference: Inference
"""Of a process of the pool."""


def answer_chunks(
    model_dir: Path,
    runs: Sequence[InferenceRun],
    chunks: Sequence[Chunk],
    swapped: Mapping[bytes, bytes],
    *,
    batch_size: int,
    processes: int,
) -> Iterator[list[dict[str, Any]]]:
    """Yields each chunk as it is done, in any order: `predicted_row` of each question, and `routing`.

    Args:
        swapped: the picture that a run with swapped pictures shows in a picture's place.
    """
    if chunks:
        with answering(
            model_dir, runs, batch_size=batch_size, processes=min(processes, len(chunks))
        ) as answer:
            yield from answer(chunks, swapped)


@contextmanager
def answering(
    model_dir: Path, runs: Sequence[InferenceRun], *, batch_size: int, processes: int
) -> Iterator[Callable[[Sequence[Chunk], Mapping[bytes, bytes]], Iterator[list[dict[str, Any]]]]]:
    """What `answer_chunks` does with chunks, as often as it is called, by processes that stay."""
    if processes == 1:
        inference = Inference(*load_model(model_dir, 0), runs, batch_size)
        yield lambda chunks, swapped: (_rows(inference, chunk, swapped) for chunk in chunks)
        return
    numbers = multiprocessing.get_context("spawn").Queue()
    for number in range(processes):
        numbers.put(number)
    threads = max(1, torch.get_num_threads() // processes)
    start = (model_dir, runs, batch_size, threads, numbers)
    with process_pool(processes, "speed.inference_processes", _start, *start) as pool:

        def answer(chunks: Sequence[Chunk], swapped: Mapping[bytes, bytes]) -> Iterator[list[dict[str, Any]]]:
            futures = [
                pool.submit(_answer, chunk, {q.image: swapped[q.image] for q in chunk} if swapped else {})
                for chunk in chunks
            ]
            for future in as_completed(futures):
                yield future.result()

        yield answer


def _rows(inference: Inference, chunk: Chunk, swapped: Mapping[bytes, bytes]) -> list[dict[str, Any]]:
    answered = inference.answer(chunk, swapped)
    return [predicted_row(sample) | {"routing": sample.routing} for sample in answered]


def _start(
    model_dir: Path, runs: Sequence[InferenceRun], batch_size: int, threads: int, numbers: Any
) -> None:
    global _inference
    torch.set_num_threads(threads)
    _inference = Inference(*load_model(model_dir, numbers.get()), runs, batch_size)


def _answer(chunk: Chunk, swapped: Mapping[bytes, bytes]) -> list[dict[str, Any]]:
    return _rows(_inference, chunk, swapped)


def load_model(model_dir: Path, number: int = 0) -> tuple[Any, Any]:
    """The model, ready for inference on one of the accelerators if there are any, and its processor."""
    processor = load_processor(model_dir)
    model = loading.load_model(model_dir, dtype="auto")
    accelerators = torch.cuda.device_count()
    return model.to(f"cuda:{number % accelerators}" if accelerators else "cpu"), processor
