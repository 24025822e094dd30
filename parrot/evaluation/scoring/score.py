"""`parrot score`: from benchmark files and predictions to accuracies, without a model."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.benchmark import check_rotations, rotation_groups, scored_groups
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion, TextRow, parse_questions, read_texts
from parrot.evaluation.benchmarks.suites import BENCHMARKS_FILE, BenchmarkFile, find_files, load_suites
from parrot.evaluation.extraction.extract import extract_answer
from parrot.evaluation.samples import Answer, Sample, grouped
from parrot.evaluation.scoring import vlmevalkit
from parrot.evaluation.scoring.accuracy import hits_of, judged, paired, shares_by
from parrot.evaluation.scoring.exchange import find_predictions, read_predictions, require_predictions
from parrot.files import write_json

NO_SPLIT = "none"
PARROT, VLMEVALKIT = "parrot", "vlmevalkit"
EXTRACTORS: dict[str, Callable[[str, Mapping[str, str]], str | None]] = {
    PARROT: extract_answer,
    VLMEVALKIT: vlmevalkit.extract_answer,
    "vlmevalkit-2024": partial(vlmevalkit.extract_answer, of_2024=True),
}
"""Scoring protocol -> from an answer and the options (letter -> text) to the letter that was meant.

All but our own read the tables as VLMEvalKit does, too.
"""


@dataclass(frozen=True, slots=True)
class PredictedFile:
    """A benchmark file and the predictions for it."""

    file: BenchmarkFile
    rows: list[TextRow]
    table: Path
    predictions: dict[int, str]


def score(
    tsv_dir: Path, pred_dir: Path, *, protocol: str, output: Path, benchmarks: Path = BENCHMARKS_FILE
) -> dict[str, Any]:
    """Score every benchmark file in `tsv_dir`, write the report to `output` and print a table.

    The report maps suite -> language -> what `score_file` returns, and `protocol` to its name.

    Raises:
        ParrotError: a file is missing or wrong; names file, row and column.
    """
    shown = [protocol, *(name for name in (PARROT, VLMEVALKIT) if name != protocol)]
    report: dict[str, Any] = {"protocol": protocol}
    lines = [_line("suite", "language", "scored", shown, "unreadable")]
    for file in find_files(tsv_dir, load_suites(benchmarks)):
        answered = read_answered(file, pred_dir)
        found = score_file(answered, protocol)
        report.setdefault(file.suite, {})[file.language] = found
        for reason, count in found.get("dropped", {}).items():
            print(f"{file.path}: dropped as VLMEvalKit does: {reason}: {count}", file=sys.stderr)
        overall = [f"{found['overall']:.1%}", *(_overall(answered, name) for name in shown[1:])]
        unreadable = f"{found['unreadable']:.1%}"
        lines.append(_line(file.suite, file.language, str(found["n_scored"]), overall, unreadable))
    write_json(output, report)
    print("\n".join(lines), flush=True)
    return report


def read_answered(file: BenchmarkFile, pred_dir: Path) -> PredictedFile:
    """Read a benchmark file, without its pictures, and the table in `pred_dir` that belongs to it.

    Raises:
        ParrotError: one of the two is missing or cannot be read.
    """
    rows = read_texts(file.path)
    if not rows:
        raise ParrotError(f"{file.path}: holds no question; replace it by the published file")
    table = find_predictions(pred_dir, file.path)
    return PredictedFile(file, rows, table, read_predictions(table, {row.index for row in rows}))


def score_file(answered: PredictedFile, protocol: str) -> dict[str, Any]:
    """What one file's predictions are worth.

    Returns:
        `dataset`; `mode` (vanilla or circular); `split` (its name, "none" or, if there are several,
        "all"); `n_rows`; `n_scored` (rows, or groups of rotations, that count); `overall`, `category` and
        `l2_category` (shares of hits, 0 to 1); `hits` (index -> 0 or 1); `extracted` (index of every row
        -> letter, or None); `unreadable` (share of the rows in which no option was read); and where they
        apply `published`, `dropped` (reason -> how many), `splits` (accuracies of each) and `paired`.

    Raises:
        ParrotError: a cell is wrong, or a prediction is missing.
    """
    file, predictions, dropped = answered.file, answered.predictions, {}
    if protocol == PARROT:
        questions = parse_questions(file.path, answered.rows)
        check_rotations(file, questions)
    else:
        questions = vlmevalkit.read_questions(file.path, answered.rows)
        predictions = vlmevalkit.read_predictions(predictions)
        dropped = _dropped(answered, questions)
    require_predictions(answered.table, predictions, (question.index for question in questions))
    extract = EXTRACTORS[protocol]
    samples = [
        Sample(question, {protocol: Answer(extract(predictions[question.index], question.options))})
        for question in questions
    ]
    scored = judged(samples, circular=file.circular)
    if not scored:
        raise ParrotError(f"{file.path}: no row is left to score; replace it by the published file")
    by_split = grouped(scored, lambda sample: sample.question.split or NO_SPLIT)
    splits = {name: _accuracies(by_split[name], protocol) for name in sorted(by_split)}
    unread = [one for one in samples if one.answers[protocol].choice not in one.question.options]
    return {
        "dataset": file.dataset,
        "mode": "circular" if file.circular else "vanilla",
        "split": next(iter(splits)) if len(splits) == 1 else "all",
        "n_rows": len(questions),
        "n_scored": len(scored),
        **_accuracies(scored, protocol),
        "hits": {str(sample.question.index): int(bool(sample.answers[protocol].hit)) for sample in scored},
        "extracted": {str(sample.question.index): sample.answers[protocol].choice for sample in samples},
        "unreadable": len(unread) / len(questions),
        **({} if file.published is None else {"published": file.published}),
        **({"dropped": dropped} if dropped else {}),
        **({"splits": splits} if len(splits) > 1 else {}),
        **({"paired": paired(scored, protocol)} if protocol == PARROT else {}),
    }


def _accuracies(scored: Sequence[Sample], protocol: str) -> dict[str, Any]:
    """A question without a name counts in no category of that kind."""
    categories = shares_by(scored, protocol, lambda sample: sample.question.category)
    l2_categories = shares_by(scored, protocol, lambda sample: sample.question.l2_category)
    return {
        "overall": fmean(hits_of(scored, protocol)),
        "category": dict(sorted(categories.items())),
        "l2_category": dict(sorted(l2_categories.items())),
    }


def _dropped(answered: PredictedFile, questions: Sequence[MultipleChoiceQuestion]) -> dict[str, int]:
    """Why VLMEvalKit leaves something out -> how many, of rows or of groups."""
    groups = len(rotation_groups(questions)) - len(scored_groups(questions, circular=True))
    counts = {
        "rows without image": len(answered.rows) - len(questions),
        "groups without main row": groups if answered.file.circular else 0,
    }
    return {reason: count for reason, count in counts.items() if count}


def _overall(answered: PredictedFile, protocol: str) -> str:
    """The accuracy under another protocol than the chosen one, which may refuse what that one takes."""
    try:
        return f"{score_file(answered, protocol)['overall']:.1%}"
    except ParrotError as error:
        print(f"not scored under {protocol}: {error}", file=sys.stderr)
        return "–"


def _line(suite: str, language: str, scored: str, overall: Sequence[str], unreadable: str) -> str:
    columns = "".join(f"{cell:>17}" for cell in overall)
    return f"{suite:<18}{language:<9}{scored:>7}{columns}{unreadable:>12}"
