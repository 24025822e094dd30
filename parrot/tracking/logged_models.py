"""Each trained model as MLflow knows models: where its weights lie, who made them, and how good they are.

The weights stay in DVC and on the Hub; MLflow has their hash, by which each finds the other.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parrot.lineage import run_tags
from parrot.params import read_params_tree
from parrot.pipeline.lock_file import LockEntry, read_lock
from parrot.pipeline.processes import file_lock
from parrot.provenance import read_provenance
from parrot.tracking.dvc_stages import LockedStage, locked_stages
from parrot.tracking.earlier_runs import find_maker, metrics_in_files
from parrot.tracking.store import project_folder
from parrot.tracking.values import Values, milliseconds, param_texts, tag_texts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

MODEL, PREDICTIONS, EVALUATION = "artifacts/sft", "artifacts/predictions", "artifacts/evaluation"
TRAINED, PREDICTED, EVALUATED = "sft", "predict", "evaluate"
"""Stages of dvc.yaml."""
WEIGHTS = "weights"
"""Tag: DVC's hash of `MODEL`."""
_EXTERNAL = {"mlflow.model.isExternal": "true"}
_STEP = 0


def record_model(client: "MlflowClient", experiment: str) -> "LoggedModel | None":
    """Let MLflow know the model that dvc.lock speaks of, and how good it is if that was evaluated.

    It may be done any number of times; what is there already is not made again.

    Returns:
        None where no stage has trained a model yet.
    """
    lock = read_lock()
    weights = lock[TRAINED].outs.get(MODEL) if TRAINED in lock else None
    if weights is None:
        return None
    with file_lock(project_folder() / "mlruns" / ".models"):
        model = find_model(client, experiment, weights) or _make(client, experiment, weights)
        evaluation = evaluation_of(lock, weights)
        if evaluation and model.tags.get(EVALUATED) != evaluation:
            _log_evaluation(client, experiment, model, lock[EVALUATED], evaluation)
        return client.get_logged_model(model.model_id)


def find_model(client: "MlflowClient", experiment: str, weights: str) -> "LoggedModel | None":
    found = client.search_logged_models([experiment], f"tags.{WEIGHTS} = '{weights}'", max_results=1)
    return found[0] if found else None


def evaluation_of(lock: Mapping[str, LockEntry], weights: str) -> str | None:
    """The hash of the evaluation, if it is one of these weights and not of those before them."""
    if not {PREDICTED, EVALUATED} <= lock.keys():
        return None
    predicted, evaluated = lock[PREDICTED], lock[EVALUATED]
    answers = predicted.outs.get(PREDICTIONS)
    same = predicted.deps.get(MODEL) == weights and evaluated.deps.get(PREDICTIONS) == answers
    return evaluated.outs.get(EVALUATION) if same else None


def _make(client: "MlflowClient", experiment: str, weights: str) -> "LoggedModel":
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    (stage,) = locked_stages([TRAINED])
    maker = find_maker(client, experiment, stage)
    made_by = read_provenance(Path(MODEL))
    commit = made_by.get("commit") or (maker.data.tags.get("mlflow.source.git.commit") if maker else None)
    known = {WEIGHTS: weights, "dvc.path": MODEL, "commit": commit, "data": made_by.get("data")}
    made = client.create_logged_model(
        experiment,
        re.sub(r"[/:.%\"']", "-", str(read_params_tree()["package"]["name"])),
        maker.info.run_id if maker else None,
        tags=_EXTERNAL | tag_texts({key: value for key, value in known.items() if value}),
        params=param_texts(stage.params),
        model_type=str(read_params_tree()["model"]["architecture"]),
    )
    if maker:
        client.log_outputs(maker.info.run_id, [LoggedModelOutput(made.model_id, _STEP)])
    return client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)


def _log_evaluation(
    client: "MlflowClient", experiment: str, model: "LoggedModel", entry: LockEntry, evaluation: str
) -> None:
    from mlflow.entities import LoggedModelInput, Metric

    (stage,) = locked_stages([EVALUATED])
    run = find_maker(client, experiment, stage) or _run_of_elsewhere(client, experiment, stage, evaluation)
    benchmark = str(entry.params.get("evaluate.benchmark"))
    data = (benchmark, entry.deps[benchmark]) if benchmark in entry.deps else (None, None)
    client.log_batch(
        run.info.run_id,
        [
            Metric(it.key, it.value, it.timestamp, it.step, model.model_id, *data, run.info.run_id)
            for it in run.data._metric_objs
        ],
    )
    client.log_inputs(run.info.run_id, models=[LoggedModelInput(model.model_id)])
    tags = {EVALUATED: evaluation, f"{EVALUATED}.run": run.info.run_id}
    client.set_logged_model_tags(model.model_id, tags)


def _run_of_elsewhere(client: "MlflowClient", experiment: str, stage: LockedStage, evaluation: str) -> "Run":
    """A run for an evaluation that came with `dvc pull` or with the commit: this store has none of it."""
    now = milliseconds()
    tags: dict[str, Any] = run_tags() | {"parrot.kind": "elsewhere", EVALUATED: evaluation}
    run = client.create_run(experiment, now, run_name=EVALUATED, tags=tag_texts(tags)).info.run_id
    values = Values(params=param_texts(stage.params), metrics=metrics_in_files(stage), inputs=stage.inputs)
    if Path(EVALUATION).is_dir():
        values.artifacts = [(EVALUATION, Path(EVALUATION).name)]
    values.write(client, run, None)
    client.set_terminated(run, "FINISHED", now)
    return client.get_run(run)
