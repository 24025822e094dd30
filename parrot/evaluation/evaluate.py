"""The stage `evaluate`: ask a model every question of a benchmark, seeing and blind."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import AutoModelForImageTextToText, AutoProcessor

import parrot.model  # noqa: F401  (registers the Auto classes)
from parrot.config import Evaluate
from parrot.data.sources.mmmb import Question, read_questions
from parrot.errors import ParrotError
from parrot.evaluation import report, scoring
from parrot.evaluation.inference import Run, predict
from parrot.evaluation.predictions import Prediction, write_predictions
from parrot.evaluation.prompts import protocols
from parrot.files import atomic_directory, write_json


def evaluate(
    params: Evaluate,
    languages: list[str],
    *,
    seed: int,
    model_dir: Path,
    metrics: Path,
    predictions: Path,
    plots: Path,
) -> dict[str, Any]:
    """Score the model in `model_dir` on `params.benchmark`, write what was found and print a table.

    Three runs: by the likelihood of the option texts with the picture ("seeing"), the same with
    the picture removed or swapped ("blind"), and by the likelihood of the letters with the picture
    ("letter").

    Args:
        seed: decides which picture is swapped for which.
        metrics: JSON with `accuracy`, `blind` and `letter` (each language -> share of right answers,
            and `overall`, the mean over the languages), `chance`, `protocol`, `prompts` (protocol ->
            version), `questions` (how many, over all languages), `category` (-> accuracy).
        predictions: JSON lines, one per language and question.
        plots: folder for heat maps and the tables behind them.

    Raises:
        ParrotError: a language, file, category or picture is missing, or the model does not load.
    """
    benchmark = read_benchmark(params, languages)
    model, processor = load_model(model_dir)
    known = protocols()
    runs = (
        Run("seeing", known["option_likelihood"], "own"),
        Run("blind", known["option_likelihood"], params.blind),
        Run("letter", known["letter_likelihood"], "own"),
    )
    answered = answer_all(model, processor, benchmark, runs, batch_size=params.batch_size, seed=seed)
    by_category = scoring.category_accuracy(answered, languages, "seeing")
    values: dict[str, Any] = {
        "accuracy": scoring.accuracy(answered, languages, "seeing"),
        "blind": scoring.accuracy(answered, languages, "blind"),
        "letter": scoring.accuracy(answered, languages, "letter"),
        "chance": scoring.chance(answered, languages),
        "protocol": runs[0].protocol.name,
        "prompts": {run.protocol.name: run.protocol.version for run in runs},
        "questions": len(answered),
        "category": by_category,
    }
    write_predictions(predictions, answered)
    with atomic_directory(plots) as folder:
        report.write_plots(
            folder,
            languages,
            seeing=by_category,
            blind=scoring.category_accuracy(answered, languages, "blind"),
            experts=scoring.expert_weights(answered, languages),
        )
    write_json(metrics, values)
    print(report.table(values), flush=True)
    return values


def read_benchmark(params: Evaluate, languages: Sequence[str]) -> dict[str, list[Question]]:
    """Language -> its questions, in the order of its file.

    Raises:
        ParrotError: a language has no file or no question, or lacks a category that another one has.
    """
    paths: dict[str, Path] = {}
    for language in languages:
        if language not in params.files:
            raise ParrotError(f"params.yaml: evaluate.files: no benchmark file for '{language}'; name one")
        paths[language] = Path(params.benchmark) / params.files[language]
        if not paths[language].is_file():
            raise ParrotError(f"{paths[language]}: not found; run `parrot data`, "
                              f"or correct `evaluate` in params.yaml")  # fmt: skip
    pictures: dict[bytes, bytes] = {}  # one copy of a picture, in however many languages it is asked about
    benchmark = {
        language: [
            replace(question, image=pictures.setdefault(question.image, question.image))
            for question in read_questions(path)
        ]
        for language, path in paths.items()
    }
    categories = {language: {q.category for q in questions} for language, questions in benchmark.items()}
    everywhere = set().union(*categories.values())
    for language, path in paths.items():
        if not benchmark[language]:
            raise ParrotError(f"{path}: holds no question; replace it by the published file")
        if missing := everywhere - categories[language]:
            raise ParrotError(f"{path}: no question of category {', '.join(sorted(missing))}, "
                              f"which another language has; complete the file")  # fmt: skip
    return benchmark


def load_model(model_dir: Path) -> tuple[Any, Any]:
    """The model, ready to be asked on the accelerator if there is one, and its processor."""
    if not (model_dir / "config.json").is_file():
        raise ParrotError(f"{model_dir}: holds no model (no config.json); run the stage that trains it first")
    model = AutoModelForImageTextToText.from_pretrained(model_dir, dtype="auto", local_files_only=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    processor = AutoProcessor.from_pretrained(model_dir, local_files_only=True)
    return model.to(device).eval(), processor


def answer_all(
    model: Any,
    processor: Any,
    benchmark: dict[str, list[Question]],
    runs: Sequence[Run],
    *,
    batch_size: int,
    seed: int,
) -> list[Prediction]:
    """Every prediction, by language and then in the order of its file; progress on stderr."""
    answered: list[Prediction] = []
    total = sum(len(questions) for questions in benchmark.values())
    with tqdm(total=total, desc="evaluate", unit="question") as bar:
        for language, questions in benchmark.items():
            found: list[Prediction] = []
            for batch in predict(
                model, processor, questions, language, runs, batch_size=batch_size, seed=seed
            ):
                found += batch
                right = sum(prediction.hit(runs[0].name) for prediction in found)
                bar.set_postfix_str(f"{language} {right / len(found):.1%}")
                bar.update(len(batch))
            place = {question.index: number for number, question in enumerate(questions)}
            answered += sorted(found, key=lambda prediction: place[prediction.question.index])
    return answered
