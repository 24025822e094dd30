"""The stage `evaluate`: ask a model every question of a benchmark, seeing and blind."""

import hashlib
import json
import platform
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

import parrot.model.registered
from parrot.config import Evaluate
from parrot.evaluation.benchmarks.mmmb import Question
from parrot.evaluation.inference.benchmark import identify, read_benchmark
from parrot.evaluation.inference.inference import AnsweredQuestion, Run
from parrot.evaluation.inference.journal import Journal
from parrot.evaluation.inference.predictions import (
    Answer,
    Prediction,
    join_rotations,
    judge,
    write_predictions,
)
from parrot.evaluation.inference.prompts import protocols
from parrot.evaluation.inference.shares import Share, cut
from parrot.evaluation.inference.workers import Task, answer_shares
from parrot.evaluation.report import accuracy, report
from parrot.evaluation.report.page import Example, make_example, write_page
from parrot.evaluation.report.records import PREDICTIONS, Evaluation, read_evaluation
from parrot.evaluation.report.summary import Table, choose_wrong, eye_warnings, summarise, worst_categories
from parrot.evaluation.report.written import kit_files, score_written
from parrot.evaluation.scoring.exchange import SETTINGS, TABLES
from parrot.files import atomic_directory, write_json
from parrot.lineage import run_tags
from parrot.loading import load_processor

PROVENANCE = "provenance.json"
PAGE = "report.html"
WORST, EXAMPLES = 3, 6
"""Categories of which the page shows wrong answers, and how many of each."""


def evaluate(
    params: Evaluate,
    languages: list[str],
    *,
    seed: int,
    model_dir: Path,
    metrics: Path,
    reports: Path,
    plots: Path,
    work: Path,
) -> dict[str, Any]:
    """Score the model in `model_dir` on `params.benchmark`, write what was found and print a table.

    Four runs: by the likelihood of the option texts with the picture ("seeing"), the same with the
    picture removed or swapped ("blind"), by the likelihood of the letters with the picture
    ("letter"), and by the letter read from what the model writes ("written").

    Args:
        seed: decides which picture is swapped for which.
        metrics: JSON with `accuracy`, `blind` and `letter` (each language -> share of right answers,
            and `overall`, the mean over the languages), `written` (scoring protocol -> such),
            `unreadable` (share of written answers), `interval` (95 %, of `accuracy`), `eyes` (seeing minus
            blind, with its interval), `chance`, `protocol`, `prompts` (protocol -> version), `questions`
            (how many, over all languages), `category` and `l2_category` (-> accuracy), `paired` (language ->
            share of opposite questions of which both are right).
        reports: an evaluation folder, which `parrot compare` takes: settings, predictions, where they
            come from, a page to look at, and what was written as tables for VLMEvalKit.
        plots: folder for heat maps and the tables behind them.
        work: folder for the answers so far; the next call with the same one goes on there.

    Returns:
        What `metrics` holds, each name behind that of the benchmark's folder ("dev/accuracy"): accuracies of
        several benchmarks are not taken for one another.

    Raises:
        ParrotError: a language, file, category or picture is missing, or the model does not load.
    """
    benchmark = read_benchmark(params, languages)
    files = kit_files(params, languages)
    known = protocols()
    runs = (
        Run("seeing", known["option_likelihood"], "own"),
        Run("blind", known["option_likelihood"], params.blind),
        Run("letter", known["letter_likelihood"], "own"),
        Run("written", known["letter_generation"], "own"),
    )
    settings = _settings(params, benchmark, runs, load_processor(model_dir))
    state = json.dumps([settings, params.batch_size, seed, _code()])
    journal = work / f"{hashlib.sha256(state.encode()).hexdigest()[:16]}.jsonl"
    every = answer_all(Task(params, languages, seed, runs, model_dir), benchmark, journal)
    predictions = join_rotations(every) if params.circular else every
    with atomic_directory(reports) as folder:
        write_json(folder / SETTINGS, settings)
        write_json(folder / PROVENANCE, {**run_tags(), **_provenance(model_dir), "seed": seed})
        write_predictions(folder / PREDICTIONS, predictions)
        written = score_written(files, every, "written", folder / TABLES)
        evaluation = read_evaluation(folder, str(reports))
        found = summarise(evaluation.answered, evaluation.runs)
        examples = _examples(evaluation, found, benchmark)
        write_page(folder / PAGE, f"Evaluation of {model_dir}", settings, found, examples)
    by_category = accuracy.category_accuracy(predictions, languages, "seeing")
    values: dict[str, Any] = {
        "accuracy": accuracy.accuracy(predictions, languages, "seeing"),
        "interval": {
            name: {"low": low, "high": high} for name, (_, low, high) in found.accuracy["seeing"].items()
        },
        "blind": accuracy.accuracy(predictions, languages, "blind"),
        "eyes": {name: estimate._asdict() for name, estimate in found.eyes.items()},
        "letter": accuracy.accuracy(predictions, languages, "letter"),
        **written,
        "chance": accuracy.chance(predictions, languages),
        "protocol": runs[0].protocol.name,
        "prompts": {run.protocol.name: run.protocol.version for run in runs},
        "questions": len(predictions),
        "category": by_category,
        "l2_category": accuracy.l2_accuracy(predictions, "seeing"),
        "paired": accuracy.pair_accuracy(predictions, "seeing"),
    }
    with atomic_directory(plots) as folder:
        report.write_plots(
            folder,
            languages,
            seeing=by_category,
            blind=accuracy.category_accuracy(predictions, languages, "blind"),
            experts=accuracy.expert_weights(predictions, languages),
        )
    write_json(metrics, values)
    print(report.table(values), *eye_warnings(found.eyes), sep="\n", flush=True)
    shutil.rmtree(work, ignore_errors=True)
    return {f"{Path(params.benchmark).name}/{name}": value for name, value in values.items()}


def _settings(
    params: Evaluate, benchmark: Mapping[str, Sequence[Question]], runs: Sequence[Run], processor: Any
) -> dict[str, Any]:
    """What must be equal for two evaluations to be compared."""
    return {
        "benchmark": identify(params, benchmark),
        "circular": params.circular,
        "pad_to_square": bool(getattr(processor, "pad_to_square", False)),
        "prompts": {
            run.name: {"protocol": run.protocol.name, "version": run.protocol.version, "picture": run.picture}
            for run in runs
        },
    }


def _code() -> list[str]:
    """Hashes of what makes answers: those of earlier code are not gone on with."""
    folders = (Path(__file__).parent, Path(parrot.model.__file__).parent)
    files = [file for folder in folders for file in sorted(folder.rglob("*.*"))]
    return [_sha256(file) for file in files if file.suffix in (".py", ".yaml")]


def _examples(
    evaluation: Evaluation, table: Table, benchmark: Mapping[str, Sequence[Question]]
) -> list[Example]:
    """Wrong answers of the worst categories."""
    questions = {(language, q.index): q for language, rows in benchmark.items() for q in rows}
    return [
        make_example(wrong, questions[wrong.language, wrong.index])
        for category in worst_categories(table.category, WORST)
        for wrong in choose_wrong(evaluation.answered, category, EXAMPLES)
    ]


def answer_all(task: Task, benchmark: Mapping[str, Sequence[Question]], file: Path) -> list[Prediction]:
    """Every prediction, by language and then in the order of its file; progress on stderr.

    Args:
        file: of the answers so far; what stands there is not asked again.
    """
    shares = cut(benchmark, task.params.batch_size)
    journal = Journal(file)
    asked, right = Counter[str](), Counter[str]()
    total, before = sum(map(len, benchmark.values())), sum(map(len, journal.done.values()))
    with tqdm(total=total, initial=before, desc="evaluate", unit="question") as bar:

        def show(rows: Sequence[dict[str, Any]]) -> None:
            for row in rows:
                question = benchmark[row["language"]][row["place"]]
                asked[row["language"]] += 1
                right[row["language"]] += row["answers"][task.runs[0].name]["choice"] == question.answer
            bar.set_postfix_str(" ".join(f"{name} {right[name] / asked[name]:.0%}" for name in asked))

        for rows in journal.done.values():
            show(rows)
        waiting = [share.number for share in shares if share.number not in journal.done]
        for number, answered in answer_shares(task, shares, waiting):
            journal.append(number, [_row(one) for one in answered])
            show(journal.done[number])
            bar.update(len(answered))
    journal.close()
    return _predictions(benchmark, shares, journal)


def _row(answered: AnsweredQuestion) -> dict[str, Any]:
    return {
        "language": answered.asked.language,
        "place": answered.asked.place,
        "answers": {run: answer.to_row() for run, answer in answered.answers.items()},
        "routing": answered.routing,
    }


def _predictions(
    benchmark: Mapping[str, Sequence[Question]], shares: Sequence[Share], journal: Journal
) -> list[Prediction]:
    rows = {(row["language"], row["place"]): row for share in shares for row in journal.done[share.number]}
    return [
        judge(
            question,
            language,
            {run: Answer(**answer) for run, answer in rows[language, place]["answers"].items()},
            rows[language, place]["routing"],
        )
        for language, questions in benchmark.items()
        for place, question in enumerate(questions)
    ]


def _provenance(model_dir: Path) -> dict[str, Any]:
    """What the numbers come from, beside the commit: the weights and the machine."""
    weights = sorted(model_dir.glob("*.safetensors"))
    return {
        "model": {file.name: _sha256(file) for file in weights},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
