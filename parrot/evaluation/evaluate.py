"""The stage `evaluate`: what predictions are worth: metrics, tables, plots and a page. It needs no model."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from parrot.config import Evaluate
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.benchmark import benchmark_files, check_benchmark, identify
from parrot.evaluation.benchmarks.mmmb import parse_questions, read_pictures, read_texts
from parrot.evaluation.benchmarks.suites import BenchmarkFile
from parrot.evaluation.report.page import choose_wrong, worst_categories, write_page
from parrot.evaluation.report.plots import write_plots
from parrot.evaluation.report.table import metrics_table
from parrot.evaluation.samples import (
    PREDICTIONS,
    PROVENANCE,
    SETTINGS,
    Sample,
    grouped,
    judged_row,
    read_experts,
    read_predictions,
    write_rows,
)
from parrot.evaluation.scoring.accuracy import (
    NO_IMAGE,
    SEEING,
    Accuracy,
    accuracy,
    accuracy_estimates,
    category_accuracy,
    chance,
    gain_warnings,
    image_gain,
    judged,
    l2_accuracy,
    pair_accuracy,
    rounded,
    with_overall,
)
from parrot.evaluation.scoring.exchange import TABLES, write_vlmevalkit_table
from parrot.evaluation.scoring.score import PARROT, VLMEVALKIT, PredictedFile, score_file
from parrot.files import atomic_directory, write_json

PAGE = "report.html"
WORST, EXAMPLES = 3, 6
"""Categories of which the page shows wrong answers, and how many of each."""
WRITTEN = "written"
"""The run whose answers are read from what the model wrote."""


def evaluate(
    evaluate: Evaluate,
    languages: Sequence[str],
    *,
    predictions: Path,
    reports: Path,
    plots: Path,
    metrics: Path,
) -> dict[str, Any]:
    """Score what `predict` wrote, print a table, and write what was found.

    Args:
        predictions: the folder that `predict` wrote.
        metrics: JSON with `accuracy`, `blind` and `letter` (each language -> share of right answers,
            and `overall`, the mean over the languages), `written` (scoring protocol -> such),
            `unreadable` (share of written answers), `interval` (95 %, of `accuracy`), `eyes` (seeing minus
            blind, with its interval), `chance`, `protocol`, `prompts` (protocol -> version), `questions`
            (how many, over all languages), `category` and `l2_category` (-> accuracy), `paired` (language ->
            share of opposite questions of which both are right).
        reports: an evaluation folder, which `parrot compare` takes: settings, predictions, where they
            come from, a page to look at, and what was written as tables for VLMEvalKit.
        plots: folder for heat maps and the tables behind them.

    Returns:
        What `metrics` holds, each name behind that of the benchmark's folder ("dev/accuracy"): accuracies of
        several benchmarks are not taken for one another.

    Raises:
        ParrotError: a file is missing or wrong, or the predictions are for another benchmark.
    """
    files = benchmark_files(evaluate, languages)
    rows = {language: read_texts(file.path) for language, file in files.items()}
    benchmark = {name: parse_questions(file.path, rows[name], name) for name, file in files.items()}
    check_benchmark(files, benchmark)
    predicted = read_predictions(predictions)
    made_for = {"benchmark": identify(files, benchmark), "circular": evaluate.circular}
    if any(predicted.settings.get(name) != value for name, value in made_for.items()):
        raise ParrotError(f"{predictions}: made for other files than those of {evaluate.benchmark}, or for "
                          f"another evaluate.circular; run the stage predict again")  # fmt: skip
    answers = {sample.key: sample.answers for sample in predicted.samples}
    samples: list[Sample] = []
    written: list[PredictedFile] = []
    scored: dict[str, dict[str, Any]] = {PARROT: {}, VLMEVALKIT: {}}
    for language, questions in benchmark.items():
        asked = [Sample(question, answers.get((language, question.index), {})) for question in questions]
        for sample in asked:
            if sample.answers.keys() != set(predicted.runs) or sample.answers[WRITTEN].text is None:
                place = f"{predictions / PREDICTIONS}: question {sample.question.index} in '{language}'"
                raise ParrotError(f"{place}: not all its answers are there; run the stage predict again")
        texts = {sample.question.index: sample.answers[WRITTEN].text or "" for sample in asked}
        written.append(PredictedFile(files[language], rows[language], predictions / PREDICTIONS, texts))
        for protocol, found in scored.items():
            found[language] = score_file(written[-1], protocol)
        for sample in asked:
            letter = scored[PARROT][language]["extracted"][str(sample.question.index)]
            sample.answers[WRITTEN] = replace(sample.answers[WRITTEN], choice=letter)
        samples += judged(asked, circular=evaluate.circular)
    estimates = {run: accuracy_estimates(samples, run) for run in predicted.runs}
    gain = image_gain(samples)
    category = category_accuracy(samples, SEEING)
    prompts = list(predicted.settings["prompts"].values())
    values: dict[str, Any] = {
        "accuracy": rounded(accuracy(samples, SEEING)),
        "interval": {name: {"low": low, "high": high} for name, (_, low, high) in estimates[SEEING].items()},
        "blind": rounded(accuracy(samples, NO_IMAGE)),
        "eyes": {name: estimate._asdict() for name, estimate in gain.items()},
        "letter": rounded(accuracy(samples, "letter")),
        "written": {protocol: _column(found, "overall") for protocol, found in scored.items()},
        "unreadable": _column(scored[PARROT], "unreadable"),
        "chance": round(chance(benchmark, circular=evaluate.circular), 4),
        "protocol": prompts[0]["protocol"],
        "prompts": {prompt["protocol"]: prompt["version"] for prompt in prompts},
        "questions": len(samples),
        "category": {name: rounded(shares) for name, shares in category.items()},
        "l2_category": {name: rounded(shares) for name, shares in l2_accuracy(samples, SEEING).items()},
        "paired": rounded(pair_accuracy(samples, SEEING)),
    }
    with atomic_directory(reports) as folder:
        for name in (SETTINGS, PROVENANCE):
            shutil.copyfile(predictions / name, folder / name)
        write_rows(folder / PREDICTIONS, map(judged_row, samples))
        (folder / TABLES).mkdir()
        for one in written:
            table = folder / TABLES / f"{one.file.vlmevalkit_name}.tsv"
            write_vlmevalkit_table(table, [row.cells for row in one.rows], one.predictions)
        write_page(
            folder / PAGE,
            f"Evaluation on {evaluate.benchmark}",
            predicted.settings,
            accuracy=estimates,
            gain=gain,
            category=category,
            examples=_examples(samples, category, files),
        )
    with atomic_directory(plots) as folder:
        no_image = {name: rounded(shares) for name, shares in category_accuracy(samples, NO_IMAGE).items()}
        write_plots(folder, languages, values["category"], no_image, read_experts(predictions))
    write_json(metrics, values)
    print(metrics_table(values), *gain_warnings(gain), sep="\n", flush=True)
    return {f"{Path(evaluate.benchmark).name}/{name}": value for name, value in values.items()}


def _column(found: Mapping[str, Mapping[str, Any]], key: str) -> Accuracy:
    return rounded(with_overall({language: float(result[key]) for language, result in found.items()}))


def _examples(
    samples: Sequence[Sample], category: Mapping[str, Accuracy], files: Mapping[str, BenchmarkFile]
) -> list[Sample]:
    """Wrong answers of the worst categories, with their pictures."""
    chosen = [
        wrong for name in worst_categories(category, WORST) for wrong in choose_wrong(samples, name, EXAMPLES)
    ]
    held = {
        language: {s.question.picture for s in some}
        for language, some in grouped(chosen, lambda s: s.language).items()
    }
    pictures = {language: read_pictures(files[language].path, indices) for language, indices in held.items()}
    return [
        replace(one, question=replace(one.question, image=pictures[one.language][one.question.picture or 0]))
        for one in chosen
    ]
