"""The pipeline run that a stage's run is a child of, where no flow here has made it."""

import hashlib
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from parrot.config import Params
from parrot.lineage import run_tags
from parrot.params import PARAMS_FILE, read_params_tree, section_fields
from parrot.pipeline.graph import display_name
from parrot.profiles import profile_of_params
from parrot.tracking.dvc_stages import locked_stages, params_of_other_parts, stages_before
from parrot.tracking.earlier_runs import name_by_changes, values_of_cached
from parrot.tracking.runs import Birth, birth_tags, say
from parrot.tracking.store import existing_run, where_to_look
from parrot.tracking.values import Values, allowed, param_texts

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAMS_ARTIFACT = "params.json"
"""A parent's file with every parameter; each stage's own are parameters of its run."""


def forget_unknown_parent(client: "MlflowClient", _experiment: str, birth: Birth) -> None:
    """A worker may have another store than the clone whose stage it runs: there the run stands alone."""
    if existing_run(client, birth.parent) is None:
        birth.parent = None


def parent_of_stage(client: "MlflowClient", experiment: str, dvc: str, address: str) -> str:
    """The parent that the stages of one bare `dvc repro` share."""
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
    every, tags = all_params(), run_tags()
    params = told_params(every)
    name = name_by_changes(client, experiment, params, tags)
    made = client.create_run(experiment, run_name=name, tags=tags | birth_tags("pipeline", dvc))
    parent: str = made.info.run_id
    Values(params=params, inputs=data_input(tags)).write(client, parent, None)
    client.log_dict(parent, param_texts(every), PARAMS_ARTIFACT)
    for what, how in where_to_look(experiment, parent):
        say(f"MLflow, {what}: {how}")
    return parent


def data_input(tags: Mapping[str, str]) -> dict[str, str]:
    """`data/` as an input of a pipeline run: the list of runs then shows on which data each was."""
    return {"data": tags["data"]} if "data" in tags else {}


def all_params() -> dict[str, Any]:
    """What the schema has accepted: a key that it does not know may hold anything, a password even.

    Of the files of other parts of the graph what their stages depend on, after the name of the part.
    """
    return read_params_tree() | params_of_other_parts() if PARAMS_FILE.exists() else {}


def told_params(every: Mapping[str, Any]) -> dict[str, str]:
    """The profile and what differs from it, so that two runs side by side show what one has changed.

    Of each other part of the graph a sum, which differs where one of its parameters does. All of them where
    no profile of conf/ has written params.yaml.

    Args:
        every: as `all_params` gives them.
    """
    known = profile_of_params() if PARAMS_FILE.exists() else None
    if known is None:
        return param_texts(every)
    profile, tree = known
    own = set(section_fields(Params))
    base, now = param_texts(tree), param_texts({key: every[key] for key in every if key in own})
    told = {name: now.get(name, "unset") for name in [*now, *base] if now.get(name) != base.get(name)}
    others = param_texts({key: value for key, value in every.items() if key not in own})
    parts: dict[str, dict[str, str]] = {}
    for name, text in others.items():
        parts.setdefault(name.partition(".")[0], {})[name] = text
    sums = {
        part: hashlib.sha256(repr(sorted(of.items())).encode()).hexdigest()[:8] for part, of in parts.items()
    }
    return {"profile": profile, **told, **sums}
