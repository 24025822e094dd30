"""Written answers under both scoring protocols: ours and VLMEvalKit's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from parrot.config import Evaluate
from parrot.data.sources.mmmb import read_texts
from parrot.evaluation.exchange import kit_name, write_kit_table
from parrot.evaluation.predictions import Prediction
from parrot.evaluation.score import KIT, PARROT, Answered, score_file
from parrot.evaluation.scoring import OVERALL
from parrot.evaluation.suites import BenchmarkFile


def score_written(
    params: Evaluate, predictions: Sequence[Prediction], run: str, tables: Path
) -> dict[str, Any]:
    """Score what a model wrote in `run`, of every row of the benchmark.

    Args:
        tables: a folder to be made, for the prediction tables that VLMEvalKit reads.

    Returns:
        `written`: scoring protocol -> language -> accuracy; `unreadable`: language -> share of answers
        that our reader makes nothing of; both with the mean over the languages, 4 decimals.
    """
    texts: dict[str, dict[int, str]] = {}
    for prediction in predictions:
        of_language = texts.setdefault(prediction.language, {})
        of_language[prediction.question.index] = prediction.answers[run].text or ""
    answered = {language: _answered(params, language, found) for language, found in texts.items()}
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


def _answered(params: Evaluate, language: str, texts: dict[int, str]) -> Answered:
    path = Path(params.benchmark) / params.files[language]
    suite, _, code = path.stem.rpartition("_")  # the kit's code of the language is the file's: cn for zh
    file = BenchmarkFile(path, suite, code or language, path.stem, params.circular, md5=None)
    return Answered(file, None, read_texts(path), path, texts)


def _column(found: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, float]:
    values = {language: float(result[key]) for language, result in found.items()}
    values[OVERALL] = fmean(values.values())
    return {name: round(value, 4) for name, value in values.items()}
