"""One parent run for a pipeline run, one child for each of its stages."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from parrot.config import PARAMS_FILE
from parrot.errors import ParrotError
from parrot.lineage import input_hashes, run_tags
from parrot.processes import dvc_process, find_process, identity
from parrot.tracking.runs import PARENT_VARIABLE, Run, birth_tags, closing
from parrot.tracking.store import check_store, connect, project_folder, say, shown_uri
from parrot.tracking.values import Values, param_texts

if TYPE_CHECKING:
    from mlflow import MlflowClient


@contextlib.contextmanager
def track_stage(stage: str, params: Mapping[str, Any]) -> Iterator[Run]:
    """Track one stage: `params` are those that it depends on, by section.

    Under the flow the run is a child of the flow's; under a bare `dvc repro` the stages of that
    DVC process share a parent, made by the first; without DVC the run stands alone.

    Raises:
        ParrotError: the store cannot be used, found before the stage begins.
    """
    check_store()
    run = Run(stage, _parent_of_stage, birth_tags("stage", identity()))
    run.log_params(params)
    run.set_tags(run_tags() | {f"input.{path}": md5 for path, md5 in input_hashes(stage).items()})
    with closing(run):
        yield run


@contextlib.contextmanager
def track_pipeline(name: str = "pipeline") -> Iterator[Run]:
    """Track a pipeline run; stages started inside become children of it.

    Raises:
        ParrotError: the store cannot be used.
    """
    check_store()
    run = Run(name, lambda client, experiment: None, birth_tags("pipeline", identity()))
    run.log_params(_all_params())
    run.set_tags(run_tags())
    with closing(run):
        if (parent := run.wait_until_open()) is None:
            raise ParrotError(f"{shown_uri()}: MLflow cannot use this store; see the message above")
        os.environ[PARENT_VARIABLE] = parent
        try:
            yield run
        finally:
            del os.environ[PARENT_VARIABLE]


def ensure_store() -> None:
    """Create the store where there is none, and send what an absent server has left behind."""
    check_store()
    client, experiment = connect()
    for file in sorted((project_folder() / "mlruns" / "unsent").glob("*.json")):
        left = json.loads(file.read_text(encoding="utf-8"))
        name, run, parent, status = (left.pop(key) for key in ("name", "run", "parent", "status"))
        if run is None:
            run = client.create_run(experiment, run_name=name).info.run_id
        Values(**left).write(client, run, parent)
        client.set_terminated(run, status)
        file.unlink()
        say(f"sent the values of '{name}' that were left in {file.name}")


def _parent_of_stage(client: "MlflowClient", experiment: str) -> str | None:
    if parent := os.environ.get(PARENT_VARIABLE):
        return parent
    dvc = dvc_process()
    if dvc is None:
        return None
    query = (
        f"tags.`parrot.kind` = 'pipeline' AND tags.`parrot.host` = '{socket.gethostname()}' "
        f"AND tags.`parrot.process` LIKE '{dvc.pid}-%'"
    )
    for run in client.search_runs([experiment], query):
        if find_process(run.data.tags["parrot.process"]):
            found: str = run.info.run_id
            client.update_run(found, status="RUNNING")
            return found
    tags = birth_tags("pipeline", identity(dvc)) | run_tags()
    made: str = client.create_run(experiment, run_name="pipeline", tags=tags).info.run_id
    Values(params=param_texts(_all_params())).write(client, made, None)
    return made


def _all_params() -> dict[str, Any]:
    return yaml.safe_load(PARAMS_FILE.read_text(encoding="utf-8")) if PARAMS_FILE.exists() else {}
