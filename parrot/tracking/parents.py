"""The parent that the stages of one bare `dvc repro` share."""

import socket
from typing import TYPE_CHECKING, Any

from parrot.lineage import run_tags
from parrot.params import PARAMS_FILE, read_params_tree
from parrot.pipeline.graph import display_name
from parrot.tracking.dvc_stages import locked_stages, params_of_other_parts, stages_before
from parrot.tracking.earlier_runs import name_by_changes, values_of_cached
from parrot.tracking.runs import birth_tags, say
from parrot.tracking.store import where_to_look
from parrot.tracking.values import Values, allowed, param_texts

if TYPE_CHECKING:
    from mlflow import MlflowClient


def parent_of_stage(client: "MlflowClient", experiment: str, dvc: str, address: str) -> str:
    parent = _parent_of_dvc(client, experiment, dvc)
    told = client.get_run(parent).data.tags
    before = [
        earlier for earlier in stages_before(address) if f"stage.{allowed(display_name(earlier))}" not in told
    ]
    for stage in locked_stages(before) if before else []:
        values_of_cached(client, experiment, stage).write(client, parent, None)
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
    params, tags = param_texts(all_params()), run_tags()
    name = name_by_changes(client, experiment, params, tags)
    made = client.create_run(experiment, run_name=name, tags=tags | birth_tags("pipeline", dvc))
    parent: str = made.info.run_id
    Values(params=params).write(client, parent, None)
    for what, how in where_to_look(experiment, parent):
        say(f"MLflow, {what}: {how}")
    return parent


def all_params() -> dict[str, Any]:
    """What the schema has accepted: a key that it does not know may hold anything, a password even.

    Of the files of other parts of the graph what their stages depend on, after the name of the part.
    """
    return read_params_tree() | params_of_other_parts() if PARAMS_FILE.exists() else {}
