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
from parrot.evaluation.inference.benchmark import read_benchmark
from parrot.evaluation.inference.inference import Run, answer_share
from parrot.evaluation.inference.prompts import protocols
from parrot.evaluation.inference.shares import Asked, cut
from parrot.evaluation.inference.workers import load_model
from parrot.evaluation.scoring import kit
from parrot.params import load_params

RUN = Run("written", protocols()["letter_generation"], "own")


@torch.inference_mode()
def ask_as_the_kit_does(model: Any, processor: Any, asked: Sequence[Asked]) -> list[str]:
    texts = []
    for one in asked:
        conversation = [
            {"role": "system", "content": RUN.protocol.system},
            {"role": "user", "content": RUN.protocol.ask(one.question, one.language, picture=True)},
        ]
        prompt = processor.apply_chat_template(conversation, add_generation_prompt=True)
        inputs = processor(text=[prompt], images=[decode(one.question.image)], return_tensors="pt")
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
    shares = cut(read_benchmark(params.evaluate, params.languages), params.evaluate.batch_size)
    every = [one for share in shares for one in share.asked]
    model, processor = load_model(args.model)

    began = time.perf_counter()
    answered = [
        one
        for share in shares
        for one in answer_share(
            model, processor, share, [RUN], batch_size=params.evaluate.batch_size, swapped={}
        )
    ]
    here = len(every) / (time.perf_counter() - began)
    texts = {id(one.asked.question): one.answers["written"].text or "" for one in answered}

    few = every[:: max(1, len(every) // args.questions)]
    began = time.perf_counter()
    theirs = ask_as_the_kit_does(model, processor, few)
    loop = len(few) / (time.perf_counter() - began)

    letters = [
        (
            kit.read_answer(texts[id(one.question)], one.question.options),
            kit.read_answer(text, one.question.options),
        )
        for one, text in zip(few, theirs, strict=True)
    ]
    same = sum(ours == kits for ours, kits in letters) / len(letters)
    print("| | questions per second | times |\n|---|---:|---:|")
    print(f"| one at a time, {len(few)} questions | {loop:.1f} | 1.0 |")
    print(f"| here, {len(every)} questions | {here:.1f} | {here / loop:.1f} |")
    print(f"\nThe letters read from the answers to the same {len(few)} questions: {same:.1%} the same.\n")
    scoring.main([])


if __name__ == "__main__":
    main()
