"""Stages that did not have to run: what they had found, and in which run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parrot.lineage import locked_inputs, locked_params, locked_stages
from parrot.tracking.values import Values, of_stage, param_texts, points, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_NEWEST_RUNS = 200
"""How many runs of a stage are looked through for the one that made its outputs."""


def stage_tags(stage: str, state: str, made_by: str | None = None) -> dict[str, str]:
    """How a pipeline run tells what became of a stage."""
    tags = {f"stage.{stage}": state}
    return tags | ({f"stage.{stage}.run": made_by} if made_by else {})


def values_of_cached(client: "MlflowClient", experiment: str, stage: str, state: str = "cached") -> Values:
    """What the pipeline run shows of a stage whose outputs are those of an earlier run.

    Its metrics as `stage/name`, its plots and pages, and a tag that names the run that made them, or
    says that this store has none (the outputs came with `dvc pull` or with the commit).
    """
    made_by = find_maker(client, experiment, stage) or "none in this store"
    values = Values(tags=stage_tags(stage, state, made_by))
    for path, is_metric in _outputs(stage):
        if is_metric:
            values.metrics += of_stage(stage, points(_read_metrics(path), 0))
        else:
            values.artifacts += shown(path)
    return values


def find_maker(client: "MlflowClient", experiment: str, stage: str) -> str | None:
    """The newest run that read exactly what `dvc.lock` says of the stage, with the same parameters."""
    entry = locked_stages().get(stage)
    if entry is None:
        return None
    inputs = {f"input.{path}": md5 for path, md5 in locked_inputs(entry).items()}
    params = param_texts(locked_params(entry))
    runs: list[Run] = client.search_runs(
        [experiment],
        f"attributes.run_name = '{stage}' AND attributes.status = 'FINISHED' "
        f"AND tags.`parrot.kind` = 'stage'",
        max_results=_NEWEST_RUNS,
        order_by=["attributes.start_time DESC"],
    )
    for run in runs:
        if inputs.items() <= run.data.tags.items() and params.items() <= run.data.params.items():
            return str(run.info.run_id)
    return None


def stages_before(stage: str) -> list[str]:
    """The stages that `stage` needs, directly or not: once it runs, they have run or are cached."""
    from dvc.repo import Repo

    with Repo() as repo:
        graph = repo.index.graph
        found: set[Any] = set()
        to_visit = list(repo.stage.collect(stage))
        while to_visit:
            needs = set(graph.successors(to_visit.pop())) - found
            found |= needs
            to_visit += needs
        return sorted(need.addressing for need in found if need.cmd)


def _outputs(stage: str) -> list[tuple[Path, bool]]:
    """The paths that the stage writes, and whether they hold metrics."""
    from dvc.repo import Repo

    with Repo() as repo:
        (found,) = repo.stage.collect(stage)
        return [(Path(out.fs_path), bool(out.metric)) for out in found.outs]


def _read_metrics(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}
