"""The stage `evaluate`: what predictions are worth: metrics, tables, plots and a page. It needs no model."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from parrot.config import Evaluate
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.benchmark import Benchmark, benchmark_files, check_benchmark, identify
from parrot.evaluation.benchmarks.mmmb import parse_questions, read_texts
from parrot.evaluation.extraction.extract import extract_answer, match_answer
from parrot.evaluation.report.page import choose_examples, write_page
from parrot.evaluation.report.plots import write_plots
from parrot.evaluation.samples import (
    PREDICTIONS,
    PROVENANCE,
    SETTINGS,
    Answer,
    Evaluation,
    Sample,
    judged_row,
    read_experts,
    read_predictions,
    write_rows,
)
from parrot.evaluation.scoring.accuracy import (
    NO_IMAGE,
    SEEING,
    accuracy,
    accuracy_estimates,
    category_accuracy,
    chance,
    gain_warnings,
    image_gain,
    in_asked_language,
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
WRITTEN, FREE = "written", "free"
"""The runs in which the model writes, shown the options and not; the second is not always there."""
_READ_BY = {WRITTEN: extract_answer, FREE: match_answer}


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
            share of opposite questions of which both are right); and where questions were put without options
            as well, `free` (language -> share of answers that are the right option, to the letter but for
            case, markup and outer punctuation) and `free_language` (-> of the answers that are an option in
            any language, the share in the language of the question).
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
    rows = {name: read_texts(file.path) for name, file in files.items()}
    benchmark = {name: parse_questions(file.path, rows[name], name) for name, file in files.items()}
    check_benchmark(files, benchmark)
    predicted = read_predictions(predictions)
    made_for = {"benchmark": identify(files, benchmark), "circular": evaluate.circular}
    if any(predicted.settings.get(name) != value for name, value in made_for.items()):
        raise ParrotError(f"{predictions}: made for other files than those of {evaluate.benchmark}, or for "
                          f"another evaluate.circular; run the stage predict again")  # fmt: skip
    asked = _answered(benchmark, predicted, predictions / PREDICTIONS)
    samples = [one for some in asked.values() for one in judged(some, circular=evaluate.circular)]
    unreadable = {
        language: fmean(one.answers[WRITTEN].choice is None for one in some)
        for language, some in asked.items()
    }
    written = {
        language: PredictedFile(
            files[language],
            rows[language],
            predictions / PREDICTIONS,
            {one.question.index: one.answers[WRITTEN].text or "" for one in some},
        )
        for language, some in asked.items()
    }
    kit = {language: score_file(one, VLMEVALKIT)["overall"] for language, one in written.items()}
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
        "written": {PARROT: rounded(accuracy(samples, WRITTEN)), VLMEVALKIT: rounded(with_overall(kit))},
        "unreadable": rounded(with_overall(unreadable)),
        "chance": round(chance(benchmark, circular=evaluate.circular), 4),
        "protocol": prompts[0]["protocol"],
        "prompts": {prompt["protocol"]: prompt["version"] for prompt in prompts},
        "questions": len(samples),
        "category": {name: rounded(shares) for name, shares in category.items()},
        "l2_category": {name: rounded(shares) for name, shares in l2_accuracy(samples, SEEING).items()},
        "paired": rounded(pair_accuracy(samples, SEEING)),
    }
    if FREE in predicted.runs:
        values["free"] = rounded(accuracy(samples, FREE))
        values["free_language"] = rounded(in_asked_language(samples, FREE))
    with atomic_directory(reports) as folder:
        for name in (SETTINGS, PROVENANCE):
            shutil.copyfile(predictions / name, folder / name)
        write_rows(folder / PREDICTIONS, map(judged_row, samples))
        (folder / TABLES).mkdir()
        for one in written.values():
            table = folder / TABLES / f"{one.file.vlmevalkit_name}.tsv"
            write_vlmevalkit_table(table, [row.cells for row in one.rows], one.predictions)
        write_page(
            folder / PAGE,
            f"Evaluation on {evaluate.benchmark}",
            predicted.settings,
            accuracy=estimates,
            gain=gain,
            category=category,
            examples=choose_examples(samples, category, files),
        )
    with atomic_directory(plots) as folder:
        no_image = {name: rounded(shares) for name, shares in category_accuracy(samples, NO_IMAGE).items()}
        write_plots(folder, languages, values["category"], no_image, read_experts(predictions))
    write_json(metrics, values)
    print(metrics_table(values), *gain_warnings(gain), sep="\n", flush=True)
    return {f"{Path(evaluate.benchmark).name}/{name}": value for name, value in values.items()}


def _answered(benchmark: Benchmark, predicted: Evaluation, file: Path) -> dict[str, list[Sample]]:
    """Language -> its questions with all their answers; what was written is read."""
    answers = {sample.key: sample.answers for sample in predicted.samples}
    asked = {
        language: [Sample(one, answers.get((language, one.index), {})) for one in questions]
        for language, questions in benchmark.items()
    }
    runs = {WRITTEN, *predicted.runs}
    for sample in (one for some in asked.values() for one in some):
        for run in runs:
            answer = sample.answers.get(run, Answer())
            if (answer.text if run in _READ_BY else answer.choice) is None:
                place = f"{file}: question {sample.question.index} in '{sample.language}'"
                raise ParrotError(f"{place}: not all its answers are there; run the stage predict again")
            if run in _READ_BY:
                choice = _READ_BY[run](answer.text or "", sample.question.options)
                sample.answers[run] = replace(answer, choice=choice)
    return asked


def metrics_table(metrics: dict[str, Any]) -> str:
    """Shares in per cent with 95 % intervals, one line a language.

    Its words are those of the metrics: *eyes* is seeing minus blind (what the picture adds), *kit* the
    written answers as VLMEvalKit reads them, *free* those that were written without options.
    """
    written = metrics["written"]
    columns = {
        "letter": metrics["letter"],
        "written": written["parrot"],
        "kit": written["vlmevalkit"],
        "unreadable": metrics["unreadable"],
    }
    if "free" in metrics:
        columns["free"] = metrics["free"]
    heads = "".join(f"{name:>11}" for name in columns)
    lines = [f"accuracy, % {'seeing':>8}{'95 %':>17}{'blind':>8}{'eyes':>8}{'95 %':>17}{heads}"]
    for name, share in metrics["accuracy"].items():
        eyes = metrics["eyes"][name]
        cells = "".join(f"{100 * column[name]:11.1f}" for column in columns.values())
        lines.append(
            f"{name:<12}{100 * share:8.1f}{_interval(metrics['interval'][name]):>17}"
            f"{100 * metrics['blind'][name]:8.1f}{100 * eyes['value']:+8.1f}{_interval(eyes):>17}{cells}"
        )
    return "\n".join([*lines, f"chance is {metrics['chance']:.1%}"])


def _interval(bounds: Mapping[str, float]) -> str:
    return f"[{100 * bounds['low']:.1f}, {100 * bounds['high']:.1f}]"
