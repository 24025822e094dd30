"""Evaluation here beside a loop that works as VLMEvalKit does, with the same weights and answers, in one run.

    python -m benchmarks.evaluation [--model artifacts/sft] [--questions 300] [--cores 2]

Both ask with the paper's prompt and read the letter from what the model writes, up to 512 new tokens.
The loop asks one question at a time and decodes and encodes its picture each time, with one thread and with
as many as there are cores: the faster counts. Here a process with one thread answers on each core; questions
come in batches, a picture is decoded and encoded once, an answer ends with its letter, and what is unfinished
of one batch is written on with the next. Loading the model is in neither: of three passes over all questions
here the fastest counts. Then the seconds for scoring 120,000 rows (`benchmarks/scoring.py`).
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import scoring
from parrot.data.images import decode
from parrot.evaluation.benchmarks.benchmark import benchmark_files, read_benchmark
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion
from parrot.evaluation.inference.batches import InferenceRun
from parrot.evaluation.inference.chunks import cut
from parrot.evaluation.inference.prompts import protocols
from parrot.evaluation.inference.workers import answering, load_model
from parrot.evaluation.scoring import vlmevalkit
from parrot.params import load_params

PASSES = 3
RUN = InferenceRun("written", protocols()["letter_generation"], "own")


@torch.inference_mode()
def one_at_a_time(model: Any, processor: Any, questions: Sequence[MultipleChoiceQuestion]) -> list[str]:
    texts = []
    for question in questions:
        conversation = [
            {"role": "system", "content": RUN.protocol.system},
            {"role": "user", "content": RUN.protocol.ask(question, picture=True)},
        ]
        prompt = processor.apply_chat_template(conversation, add_generation_prompt=True)
        inputs = processor(text=[prompt], images=[decode(question.image)], return_tensors="pt")
        generated = model.generate(**inputs, max_new_tokens=RUN.protocol.max_new_tokens, do_sample=False)
        new = generated[0, inputs["input_ids"].shape[1] :]
        texts.append(processor.tokenizer.decode(new, skip_special_tokens=True).strip())
    return texts


def main() -> None:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("artifacts/sft"))
    parser.add_argument("--questions", type=int, default=300, help="that the loop is asked, evenly drawn")
    parser.add_argument("--cores", type=int, default=2)
    args = parser.parse_args()
    params = load_params()
    benchmark = read_benchmark(benchmark_files(params.evaluate, params.languages))
    batch_size = params.speed.inference_batch_size
    chunks = cut([question for some in benchmark.values() for question in some], batch_size)
    every = [question for chunk in chunks for question in chunk]

    torch.set_num_threads(args.cores)
    here, texts = 0.0, {}
    with answering(args.model, [RUN], batch_size=batch_size, processes=args.cores) as answer:
        for _ in range(PASSES):
            began = time.perf_counter()
            rows = [row for answered in answer(chunks, {}) for row in answered]
            here = max(here, len(every) / (time.perf_counter() - began))
            texts = {(row["language"], row["index"]): row[RUN.name]["text"] or "" for row in rows}

    few = every[:: max(1, len(every) // args.questions)]
    model, processor = load_model(args.model)
    loops = {}
    for threads in sorted({1, args.cores}):
        torch.set_num_threads(threads)
        one_at_a_time(model, processor, few[:3])
        began = time.perf_counter()
        theirs = one_at_a_time(model, processor, few)
        loops[threads] = len(few) / (time.perf_counter() - began)
    loop = max(loops.values())

    letters = [
        (
            vlmevalkit.extract_answer(texts[one.language, one.index], one.options),
            vlmevalkit.extract_answer(text, one.options),
        )
        for one, text in zip(few, theirs, strict=True)
    ]
    same = sum(ours == theirs for ours, theirs in letters) / len(letters)
    print("| | questions per second | times |\n|---|---:|---:|")
    for threads, rate in loops.items():
        print(f"| one at a time, {threads} threads, {len(few)} questions | {rate:.1f} | {rate / loop:.1f} |")
    print(f"| here, {args.cores} processes, {len(every)} questions | {here:.1f} | {here / loop:.1f} |")
    print(f"\nThe letters read from the answers to the same {len(few)} questions: {same:.1%} the same.\n")
    scoring.main([])


if __name__ == "__main__":
    main()
