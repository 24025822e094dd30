"""What a pipeline run has come to: the stages, the accuracy per language, where to look next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.reproduce import UP_TO_DATE, Outcome
from parrot.files import read_json_object
from parrot.pipeline.graph import display_name
from parrot.tracking import where_to_look as mlflow_pages
from parrot.tracking.runs import TrackedRun

if TYPE_CHECKING:
    from parrot.publishing.release import Release

EVALUATION = Path("metrics/evaluate.json")

_WHERE_TO_LOOK = (
    (Path("reports/validation"), "checks of the data", "{path}/"),
    (Path("artifacts/evaluation/report.html"), "accuracies and answers", "{path}"),
    (Path("plots"), "plots", "{path}/"),
    (Path("artifacts/package"), "talk to the model", "parrot chat --model artifacts/package --image FILE"),
)


def read_evaluation(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """The metrics of the stage evaluate if they are this state's, and not those of an earlier one."""
    if outcomes.get("evaluate", Outcome()).state not in UP_TO_DATE:
        return {}
    return read_json_object(EVALUATION)


def stage_rows(outcomes: Mapping[str, Outcome]) -> list[list[str]]:
    return [["stage", "state", "seconds"]] + [
        [display_name(name), outcome.state, f"{outcome.seconds:.1f}"] for name, outcome in outcomes.items()
    ]


def accuracy_rows(evaluation: Mapping[str, Any]) -> list[list[str]]:
    """Language, accuracy and blind accuracy in percent; empty without an evaluation."""
    accuracy, blind = evaluation.get("accuracy"), evaluation.get("blind")
    if not isinstance(accuracy, dict):
        return []
    blind = blind if isinstance(blind, dict) else {}
    rows = [
        [language, f"{100 * share:.1f}", f"{100 * blind[language]:.1f}" if language in blind else ""]
        for language, share in accuracy.items()
    ]
    return [["language", "accuracy %", "blind %"], *rows]


def release_rows(release: "Release | None") -> list[list[str]]:
    """The gate's decision, its reasons, and where the package is or waits; empty if none was judged."""
    if release is None:
        return []
    first, *more = release.verdict.reasons or [""]
    if release.published is not None:
        more.append(f"published: {release.published.name}, version {release.published.version}")
    if release.waits_at:
        more.append(f"waits at {release.waits_at}; once it is merged, the next run does the rest")
    rows = [[release.verdict.decision, first], *(["", line] for line in more)]
    return [["release", "why"], *rows]


def as_markdown(tables: Sequence[list[list[str]]], lines: Sequence[str] = ()) -> str:
    """One Markdown table for each list of rows, the first row being its head; then the lines as a list."""
    parts = []
    for head, *rows in filter(None, tables):
        cells = [head, ["---"] * len(head), *rows]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in cells))
    if lines:
        parts.append("\n".join(f"- {' '.join(line.split())}" for line in lines))
    return "\n\n".join(parts) + "\n"


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """The rows in aligned columns, the first to the left and numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column and _is_number(rows[-1][column]) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "   ".join(cells).rstrip())
    return "\n".join(lines)


def where_to_look(tracked: TrackedRun | None = None) -> list[str]:
    """A line for each thing that is there to be looked at.

    Args:
        tracked: this run in MLflow, if there is one.
    """
    runs = mlflow_pages(tracked.experiment, tracked.id) if tracked else mlflow_pages()
    files = [(what, how.format(path=path)) for path, what, how in _WHERE_TO_LOOK if path.exists()]
    return [f"  {what + ':':<26}{how}" for what, how in (*runs, *files)]


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()
