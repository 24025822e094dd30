"""One parent run for a pipeline run, one child for each of its stages."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from parrot.errors import ParrotError
from parrot.lineage import input_hashes, run_tags
from parrot.params import PARAMS_FILE, read_params_tree
from parrot.pipeline.processes import dvc_process, identity
from parrot.tracking.cached import stage_tags, stages_before, values_of_cached
from parrot.tracking.naming import name_by_changes
from parrot.tracking.runs import PARENT_VARIABLE, Birth, Run, birth_tags, closing
from parrot.tracking.store import check_store, connect, say, shown_uri, where_to_look
from parrot.tracking.unsent import send_all
from parrot.tracking.values import Values, param_texts

if TYPE_CHECKING:
    from mlflow import MlflowClient


@contextlib.contextmanager
def track_stage(stage: str, params: Mapping[str, Any]) -> Iterator[Run]:
    """Track one stage: `params` are those that it depends on, by section.

    Under the flow the run is a child of the flow's; under a bare `dvc repro` the stages of that
    DVC process share a parent, made by the first; without DVC the run stands alone, and what it
    reads is not known.

    Raises:
        ParrotError: the store cannot be used, found before the stage begins.
    """
    check_store()
    run = Run(
        stage,
        lambda client, experiment: Birth(stage, _parent_of_stage(client, experiment, stage)),
        birth_tags("stage", identity()),
        lambda: _input_tags(stage),
    )
    run.log_params(params)
    run.set_tags(run_tags())
    with closing(run):
        yield run


@contextlib.contextmanager
def track_pipeline() -> Iterator[Run]:
    """Track a pipeline run; stages started inside become children of it.

    Raises:
        ParrotError: the store cannot be used, or `params.yaml` is not what it must be.
    """
    check_store()
    params, tags = _all_params(), run_tags()
    run = Run(
        "pipeline",
        lambda client, experiment: Birth(name_by_changes(client, experiment, param_texts(params), tags)),
        birth_tags("pipeline", identity()),
    )
    run.log_params(params)
    run.set_tags(tags)
    with closing(run):
        if (parent := run.wait_until_open()) is None:
            raise ParrotError(f"{shown_uri()}: MLflow cannot use this store; see the message above")
        os.environ[PARENT_VARIABLE] = parent
        try:
            yield run
        finally:
            del os.environ[PARENT_VARIABLE]


def log_states(pipeline: Run, states: Mapping[str, str]) -> None:
    """Let a pipeline run show what became of its stages, also of those that did not run.

    Args:
        states: by stage; of those "cached" or "restored" it shows what the run that made them found.
    """
    try:
        client, experiment = connect()
        for stage, state in states.items():
            if state in ("cached", "restored"):
                pipeline.add(values_of_cached(client, experiment, stage, state))
            else:
                pipeline.set_tags(stage_tags(stage, state))
    except Exception as error:  # the pipeline's work must not be lost with its tracking
        say(f"MLflow is not told of the cached stages: {error}")


def ensure_store() -> None:
    """Create the store where there is none, and send what an absent server has left behind.

    Raises:
        ParrotError: the store cannot be used.
    """
    check_store()
    send_all(*connect())


def _input_tags(stage: str) -> dict[str, str]:
    # Started by hand the stage may read other files than `dvc.yaml` says.
    if "DVC_STAGE" not in os.environ:
        return {}
    return {f"input.{path}": md5 for path, md5 in input_hashes(stage).items()}


def _parent_of_stage(client: "MlflowClient", experiment: str, stage: str) -> str | None:
    if parent := os.environ.get(PARENT_VARIABLE):
        return parent
    dvc = dvc_process()
    if dvc is None:
        return None
    parent = _parent_of_dvc(client, experiment, identity(dvc))
    told = client.get_run(parent).data.tags
    for earlier in stages_before(stage):
        if f"stage.{earlier}" not in told:
            values_of_cached(client, experiment, earlier).write(client, parent, None)
    return parent


def _parent_of_dvc(client: "MlflowClient", experiment: str, dvc: str) -> str:
    query = (
        f"tags.`parrot.kind` = 'pipeline' AND tags.`parrot.host` = '{socket.gethostname()}' "
        f"AND tags.`parrot.process` = '{dvc}'"
    )
    for run in client.search_runs([experiment], query, max_results=1):
        found: str = run.info.run_id
        client.update_run(found, status="RUNNING")
        return found
    params, tags = param_texts(_all_params()), run_tags()
    name = name_by_changes(client, experiment, params, tags)
    made = client.create_run(experiment, run_name=name, tags=tags | birth_tags("pipeline", dvc))
    parent: str = made.info.run_id
    Values(params=params).write(client, parent, None)
    for what, how in where_to_look(experiment, parent):
        say(f"MLflow, {what}: {how}")
    return parent


def _all_params() -> dict[str, Any]:
    """What the schema has accepted: a key that it does not know may hold anything, a password even."""
    return read_params_tree() if PARAMS_FILE.exists() else {}
