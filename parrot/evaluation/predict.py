"""The stage `predict`: a model's answers to every question of a benchmark, with and without the picture."""

import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from tqdm.auto import tqdm

from parrot.config import Evaluate, Speed
from parrot.evaluation.benchmarks.benchmark import (
    Benchmark,
    benchmark_files,
    identify,
    read_benchmark,
    scored_groups,
)
from parrot.evaluation.inference.batches import InferenceRun
from parrot.evaluation.inference.chunks import Journal, cut, swap
from parrot.evaluation.inference.prompts import protocols
from parrot.evaluation.inference.workers import answer_chunks
from parrot.evaluation.samples import EXPERTS, PREDICTIONS, SETTINGS, write_rows
from parrot.files import atomic_directory, file_digest, write_json
from parrot.loading import load_processor
from parrot.provenance import provenance, write_provenance

Rows = dict[tuple[str, int], dict[str, Any]]
"""Language and index of a question -> its row in the journal."""


def predict(
    evaluate: Evaluate,
    languages: Sequence[str],
    seed: int,
    speed: Speed,
    *,
    model: Path,
    output: Path,
    work: Path,
) -> dict[str, Any]:
    """Put every question of `evaluate.benchmark` to a model, and write what it answers.

    Four runs: the likeliest of the options' texts with the picture ("seeing"), the same with the picture
    removed or swapped ("blind"), the likeliest of the options' letters with the picture ("letter"), and
    what the model writes ("written"); a fifth with `evaluate.free`: what it writes if it is shown no options
    ("free"). `speed` decides how long that takes, and nothing in the output.

    Args:
        seed: decides which picture is swapped for which.
        output: `settings.json` (what must be equal for two evaluations to be compared),
            `predictions.jsonl` (the letters and texts that were answered, by question), `experts.json`
            (language -> mean weight of each expert) and `provenance.json`.
        work: a folder for the answers so far; a call with the same settings and this folder goes on there.

    Returns:
        `questions`: how many, over all languages.

    Raises:
        ParrotError: a language, file, category or picture is missing, or the model does not load.
    """
    made_by = provenance(seed=seed, evaluate=evaluate)
    files = benchmark_files(evaluate, languages)
    benchmark = read_benchmark(files)
    runs = inference_runs(evaluate)
    settings = {
        "benchmark": identify(files, benchmark),
        "circular": evaluate.circular,
        "pad_to_square": bool(getattr(load_processor(model), "pad_to_square", False)),
        "prompts": {
            run.name: {"protocol": run.protocol.name, "version": run.protocol.version, "picture": run.picture}
            for run in runs
        },
    }
    answered = _answer_all(benchmark, runs, seed, speed, model, work / "answers.jsonl")
    with atomic_directory(output) as folder:
        write_json(folder / SETTINGS, settings)
        write_rows(
            folder / PREDICTIONS,
            (
                {name: value for name, value in row.items() if name != "routing"}
                for questions in benchmark.values()
                for row in (answered[question.language, question.index] for question in questions)
            ),
        )
        write_json(folder / EXPERTS, _expert_weights(benchmark, answered, circular=evaluate.circular))
        write_provenance(
            folder,
            {
                **made_by,
                "model": {file.name: file_digest(file) for file in sorted(model.glob("*.safetensors"))},
                "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
                "threads": torch.get_num_threads(),
            },
        )
    return {"questions": len(answered)}


def inference_runs(params: Evaluate) -> tuple[InferenceRun, ...]:
    """The passes over all questions, by the names that they have in files and tables."""
    known = protocols()
    runs = (
        InferenceRun("seeing", known["option_likelihood"], "own"),
        InferenceRun("blind", known["option_likelihood"], params.blind),
        InferenceRun("letter", known["letter_likelihood"], "own"),
        InferenceRun("written", known["letter_generation"], "own"),
    )
    return (*runs, InferenceRun("free", known["free_generation"], "own")) if params.free else runs


def _answer_all(
    benchmark: Benchmark, runs: Sequence[InferenceRun], seed: int, speed: Speed, model: Path, file: Path
) -> Rows:
    """Every question's answers, those in `file` not anew; progress and accuracy on stderr."""
    every = {(question.language, question.index): question for qs in benchmark.values() for question in qs}
    swaps = any(run.picture == "swapped" for run in runs)
    swapped = swap([question.image for question in every.values()], seed) if swaps else {}
    journal = Journal(file)
    answered: Rows = {}
    asked, right = Counter[str](), Counter[str]()
    with tqdm(total=len(every), initial=len(journal.done), desc="predict", unit="question") as bar:

        def count(rows: Sequence[dict[str, Any]]) -> None:
            for row in rows:
                key = language, _ = row["language"], row["index"]
                answered[key] = row
                asked[language] += 1
                right[language] += row[runs[0].name]["choice"] == every[key].answer
            bar.set_postfix_str(" ".join(f"{name} {right[name] / asked[name]:.0%}" for name in asked))

        count(journal.done)
        chunks = cut(
            (question for key, question in every.items() if key not in answered), speed.inference_batch_size
        )
        for rows in answer_chunks(
            model,
            runs,
            chunks,
            swapped,
            batch_size=speed.inference_batch_size,
            processes=speed.inference_processes,
        ):
            journal.append(rows)
            count(rows)
            bar.update(len(rows))
    journal.close()
    return answered


def _expert_weights(benchmark: Benchmark, answered: Rows, *, circular: bool) -> dict[str, list[float]]:
    """Language -> mean weight of each expert, 4 decimals; empty if the model has no experts."""
    weights = {
        language: [
            routing
            for question, _ in scored_groups(questions, circular=circular)
            if (routing := answered[language, question.index]["routing"]) is not None
        ]
        for language, questions in benchmark.items()
    }
    return {
        language: [round(fmean(of_one), 4) for of_one in zip(*rows, strict=True)]
        for language, rows in weights.items()
        if rows
    }
