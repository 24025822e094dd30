"""Written answers under both scoring protocols: ours and VLMEvalKit's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from parrot.config import Evaluate
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import read_texts
from parrot.evaluation.benchmarks.suites import BenchmarkFile
from parrot.evaluation.inference.benchmark import is_published
from parrot.evaluation.inference.predictions import Prediction
from parrot.evaluation.report.accuracy import OVERALL
from parrot.evaluation.scoring.exchange import kit_file, kit_name, write_kit_table
from parrot.evaluation.scoring.score import KIT, PARROT, PredictedFile, score_file


def kit_files(params: Evaluate, languages: Sequence[str]) -> dict[str, BenchmarkFile]:
    """Language -> its file, under a name that VLMEvalKit understands.

    Raises:
        ParrotError: it would take a file for another one, or for one in rotations.
    """
    files: dict[str, BenchmarkFile] = {}
    names: dict[str, Path] = {}
    for language in languages:
        path = Path(params.benchmark) / params.files[language]
        files[language] = kit_file(path, language, circular=params.circular)
        if (other := names.setdefault(kit_name(files[language]), path)) is not path:
            raise ParrotError(f"{path}: VLMEvalKit could not tell it from {other}; give one another name")
    return files


def score_written(
    files: Mapping[str, BenchmarkFile], predictions: Sequence[Prediction], run: str, tables: Path
) -> dict[str, Any]:
    """Score what a model wrote in `run`, of every row of the benchmark.

    Args:
        files: language -> its file.
        tables: a folder to be made, for the prediction tables that VLMEvalKit reads.

    Returns:
        `written`: scoring protocol -> language -> accuracy; `unreadable`: language -> share of answers
        that our reader makes nothing of; both with the mean over the languages, 4 decimals.
    """
    texts: dict[str, dict[int, str]] = {language: {} for language in files}
    for prediction in predictions:
        texts[prediction.language][prediction.question.index] = prediction.answers[run].text or ""
    answered = {
        language: PredictedFile(
            file, is_published(file.path), read_texts(file.path), file.path, texts[language]
        )
        for language, file in files.items()
    }
    tables.mkdir()
    for one in answered.values():
        rows = [row.cells for row in one.rows]
        write_kit_table(tables / f"{kit_name(one.file)}.tsv", rows, one.predictions)
    scored = {
        protocol: {language: score_file(one, protocol) for language, one in answered.items()}
        for protocol in (PARROT, KIT)
    }
    return {
        "written": {protocol: _column(found, "overall") for protocol, found in scored.items()},
        "unreadable": _column(scored[PARROT], "unreadable"),
    }


def _column(found: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, float]:
    values = {language: float(result[key]) for language, result in found.items()}
    values[OVERALL] = fmean(values.values())
    return {name: round(value, 4) for name, value in values.items()}
