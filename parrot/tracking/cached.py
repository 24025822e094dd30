"""Stages that did not have to run: what they had found, and in which run."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parrot.lineage import flatten, locked_inputs, locked_params, locked_stages
from parrot.tracking.values import Point, Values, of_stage, param_texts, points, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_NO_RUN = "none in this store"
_NEWEST_RUNS = 200
"""How many runs of a stage are looked through for the one that made its outputs."""


def stage_tags(stage: str, state: str, made_by: str | None = None) -> dict[str, str]:
    """How a pipeline run tells what became of a stage."""
    tags = {f"stage.{stage}": state}
    return tags | ({f"stage.{stage}.run": made_by} if made_by else {})


def makers(tags: Mapping[str, str]) -> list[str]:
    """The runs that made what a pipeline run with these tags shows of its cached stages."""
    named = (value for name, value in tags.items() if re.fullmatch(r"stage\..+\.run", name))
    return [run for run in named if run != _NO_RUN]


def values_of_cached(client: "MlflowClient", experiment: str, stage: str, state: str = "cached") -> Values:
    """What the pipeline run shows of a stage whose outputs are those of an earlier run.

    Its metrics as `stage/name`, its plots and pages, and a tag that names the run that made them, or
    says that this store has none (the outputs came with `dvc pull` or with the commit).
    """
    entry = locked_stages().get(stage, {})
    maker = _find_maker(client, experiment, stage, entry)
    outputs = _outputs(stage)
    values = Values(tags=stage_tags(stage, state, maker.info.run_id if maker else _NO_RUN))
    values.metrics = (maker and _metrics_shown(client, stage, maker)) or _metrics_in_files(
        stage, entry, [path for path, is_metric in outputs if is_metric]
    )
    for path, is_metric in outputs:
        values.artifacts += [] if is_metric else shown(path)
    return values


def _find_maker(
    client: "MlflowClient", experiment: str, stage: str, entry: Mapping[str, Any]
) -> "Run | None":
    """The newest run that read exactly what `dvc.lock` says of the stage, with the same parameters."""
    inputs = {f"input.{path}": md5 for path, md5 in locked_inputs(entry).items()}
    params = param_texts(locked_params(entry))
    runs: list[Run] = client.search_runs(
        [experiment],
        f"attributes.run_name = '{stage}' AND attributes.status = 'FINISHED' "
        f"AND tags.`parrot.kind` = 'stage'",
        max_results=_NEWEST_RUNS,
        order_by=["attributes.start_time DESC"],
    )
    for run in runs if inputs else []:
        if inputs.items() <= run.data.tags.items() and params.items() <= run.data.params.items():
            return run
    return None


def _metrics_shown(client: "MlflowClient", stage: str, maker: "Run") -> list[Point]:
    """What the pipeline run of that time shows of the stage."""
    parent = maker.data.tags.get("mlflow.parentRunId")
    told = client.get_run(parent).data.metrics if parent else {}
    return points({name: value for name, value in told.items() if name.startswith(f"{stage}/")}, 0)


def _metrics_in_files(stage: str, entry: Mapping[str, Any], paths: list[Path]) -> list[Point]:
    tree = {name: value for path in paths for name, value in _read_metrics(path).items()}
    for key, value in flatten(locked_params(entry)).items():
        # As the stage itself tells them: an accuracy of dev is not one of test.
        if key.endswith(".benchmark") and Path(str(value)).name not in tree:
            tree = {f"{Path(str(value)).name}/{name}": number for name, number in tree.items()}
    return of_stage(stage, points(tree, 0))


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
