"""Evaluation here beside a loop that works as VLMEvalKit does, with the same weights and answers, in one run.

    python benchmarks/evaluation.py [--model artifacts/sft] [--questions 300] [--threads 2]

Both ask with the paper's prompt and read the letter from what the model writes, up to 512 new tokens.
The loop asks one question at a time and decodes and encodes its picture each time; here questions come
in batches, a picture is decoded and encoded once, and an answer ends with its letter. Then the seconds
for scoring 120,000 rows (`benchmarks/scoring.py`).
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import scoring
import torch

from parrot.data.images import decode
from parrot.evaluation.benchmarks.benchmark import benchmark_files, read_benchmark
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion
from parrot.evaluation.inference.batches import Inference, InferenceRun
from parrot.evaluation.inference.chunks import cut
from parrot.evaluation.inference.prompts import protocols
from parrot.evaluation.inference.workers import load_model
from parrot.evaluation.scoring import vlmevalkit
from parrot.params import load_params

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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("artifacts/sft"))
    parser.add_argument("--questions", type=int, default=300, help="that the loop is asked, evenly drawn")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    params = load_params()
    benchmark = read_benchmark(benchmark_files(params.evaluate, params.languages))
    batch_size = params.speed.inference_batch_size
    chunks = cut([question for some in benchmark.values() for question in some], batch_size)
    every = [question for chunk in chunks for question in chunk]
    model, processor = load_model(args.model)

    began = time.perf_counter()
    inference = Inference(model, processor, [RUN], batch_size)
    answered = [one for chunk in chunks for one in inference.answer(chunk, {})]
    here = len(every) / (time.perf_counter() - began)
    texts = {one.key: one.answers["written"].text or "" for one in answered}

    few = every[:: max(1, len(every) // args.questions)]
    began = time.perf_counter()
    theirs = one_at_a_time(model, processor, few)
    loop = len(few) / (time.perf_counter() - began)

    letters = [
        (
            vlmevalkit.extract_answer(texts[one.language, one.index], one.options),
            vlmevalkit.extract_answer(text, one.options),
        )
        for one, text in zip(few, theirs, strict=True)
    ]
    same = sum(ours == theirs for ours, theirs in letters) / len(letters)
    print("| | questions per second | times |\n|---|---:|---:|")
    print(f"| one at a time, {len(few)} questions | {loop:.1f} | 1.0 |")
    print(f"| here, {len(every)} questions | {here:.1f} | {here / loop:.1f} |")
    print(f"\nThe letters read from the answers to the same {len(few)} questions: {same:.1%} the same.\n")
    scoring.main([])


if __name__ == "__main__":
    main()
