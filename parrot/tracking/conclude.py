"""What MLflow is told once a pipeline run has ended and all of it is sent: the model, and how good it is."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from parrot.credentials import without_secrets
from parrot.tracking.earlier_runs import finished_pipelines
from parrot.tracking.logged_models import record_model
from parrot.tracking.runs import say
from parrot.tracking.store import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient

TABLE = "accuracy.json"
_ACCURACY = re.compile(r"evaluate/([^/]+)/(accuracy|blind)\.([\w-]+)")
_NEWEST_RUNS = 50
_HEAD = ("benchmark", "language", "accuracy %", "before", "change", "blind %")


def conclude(pipeline: str) -> None:
    """Record the model of dvc.lock, and show the accuracies of a pipeline run in its description.

    Args:
        pipeline: the id of its run.
    """
    try:
        client, experiment = connect()
        record_model(client, experiment)
        told = client.get_run(pipeline).data.metrics
        if rows := accuracy_rows(told, _told_before(client, experiment, pipeline)):
            client.log_dict(pipeline, {"columns": _HEAD, "data": rows}, TABLE)
            client.set_tag(pipeline, "mlflow.loggedArtifacts", json.dumps([{"path": TABLE, "type": "table"}]))
            client.set_tag(pipeline, "mlflow.note.content", _markdown(rows))
    except Exception as error:  # the pipeline's work must not be lost with its tracking
        say(f"MLflow is not told of the model: {without_secrets(str(error))}")


def accuracy_rows(now: Mapping[str, float], before: Mapping[str, float]) -> list[list[str]]:
    """By benchmark and language, in percent: accuracy now, before, the difference, and without pictures."""
    rows = []
    for name, share in now.items():
        match = _ACCURACY.fullmatch(name)
        if match is None or match[2] != "accuracy":
            continue
        old = before.get(name)
        blind = now.get(name.replace("/accuracy.", "/blind."))
        change = "" if old is None else f"{100 * (share - old):+.1f}"
        rows.append([match[1], match[3], _percent(share), _percent(old), change, _percent(blind)])
    return sorted(rows, key=lambda row: (row[0], row[1] == "overall", row[1]))


def _told_before(client: "MlflowClient", experiment: str, pipeline: str) -> dict[str, float]:
    """The metrics of the last other run that has accuracies: one of some stages alone may have none."""
    runs = finished_pipelines(client, experiment, _NEWEST_RUNS)
    others = (run.data.metrics for run in runs if run.info.run_id != pipeline)
    return next((dict(told) for told in others if any(map(_ACCURACY.fullmatch, told))), {})


def _markdown(rows: list[list[str]]) -> str:
    lines = [_HEAD, ["---"] * len(_HEAD), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
