"""What earlier runs have left in MLflow: what cached stages had found, what has changed since, and files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from parrot.errors import Gone, ParrotError
from parrot.files import read_json_object
from parrot.lineage import flatten
from parrot.pipeline.graph import display_name
from parrot.profiles import profile_of_params
from parrot.tracking.dvc_stages import LockedStage
from parrot.tracking.store import check_store, connect, database_file, reason, refusal, shown_uri
from parrot.tracking.values import (
    Point,
    Values,
    allowed,
    code_tags,
    input_digests,
    of_stage,
    param_texts,
    points,
    shown,
    stage_tags,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_NO_RUN = "none in this store"
_NEWEST_RUNS = 200
"""How many runs of a stage are looked through for the one that made its outputs."""
_LONGEST_VALUE = 24
_MOST_CHANGES = 3
_VERSIONS = ("python", "torch", "transformers")


def values_of_cached(
    client: "MlflowClient", experiment: str, stage: LockedStage, state: str = "cached"
) -> Values:
    """What the pipeline run shows of a stage whose outputs are those of an earlier run.

    Its metrics as `stage/name`, its plots and pages, and a tag that names the run that made them, or
    says that this store has none (the outputs came with `dvc pull` or with the commit).
    """
    name = display_name(stage.address)
    maker = find_maker(client, experiment, stage)
    values = Values(tags=stage_tags(name, state, maker.info.run_id if maker else _NO_RUN))
    values.metrics = (maker and _metrics_shown(client, name, maker)) or of_stage(
        name, metrics_in_files(stage)
    )
    values.artifacts = [artifact for path in stage.outputs for artifact in shown(path)]
    return values


def find_maker(client: "MlflowClient", experiment: str, stage: LockedStage) -> "Run | None":
    """The newest run that read exactly what `dvc.lock` says of the stage, with the same parameters."""
    tags = code_tags(stage.code)
    params = param_texts(stage.params)
    runs: list[Run] = client.search_runs(
        [experiment],
        f"attributes.run_name = '{display_name(stage.address)}' AND attributes.status = 'FINISHED' "
        f"AND tags.`parrot.kind` = 'stage'",
        max_results=_NEWEST_RUNS,
        order_by=["attributes.start_time DESC"],
    )
    for run in runs if stage.inputs or tags else []:
        same_code_and_params = (
            tags.items() <= run.data.tags.items() and params.items() <= run.data.params.items()
        )
        if same_code_and_params and stage.inputs.items() <= input_digests(run).items():
            return run
    return None


def _metrics_shown(client: "MlflowClient", name: str, maker: "Run") -> list[Point]:
    """What the pipeline run of that time shows of the stage."""
    parent = maker.data.tags.get("mlflow.parentRunId")
    told = client.get_run(parent).data.metrics if parent else {}
    return points({key: value for key, value in told.items() if key.startswith(f"{allowed(name)}/")})


def metrics_in_files(stage: LockedStage) -> list[Point]:
    """Of a stage whose run is not known, by the names that it would have given them."""
    tree = {key: value for path in stage.metrics for key, value in read_json_object(path).items()}
    for key, value in flatten(stage.params).items():
        # As the stage itself tells them: an accuracy of dev is not one of test.
        if key.endswith(".benchmark") and Path(str(value)).name not in tree:
            tree = {f"{Path(str(value)).name}/{key}": number for key, number in tree.items()}
    return points(tree)


def name_by_changes(
    client: "MlflowClient", experiment: str, params: Mapping[str, str], tags: Mapping[str, str]
) -> str:
    """Such as "sft.learning_rate 0.001 → 0.002, data", "code 1a2b3c4", "first run" or "same settings".

    What is new, compared with the last pipeline run that ended well.
    """
    last = finished_pipelines(client, experiment, 1)
    if not last:
        return "first run"
    before = last[0].data
    found = _changes(before.params, params)
    if before.tags.get("data") != tags.get("data"):
        found.append("data")
    if before.tags.get("code") != tags.get("code"):
        found.append(f"code {tags.get('code', 'unknown')}")
    found += [f"{name} {tags[name]}" for name in _VERSIONS if before.tags.get(name) != tags[name]]
    if not found:
        return "same settings"
    more = len(found) - _MOST_CHANGES
    return ", ".join(found[:_MOST_CHANGES]) + (f" and {more} more" if more > 0 else "")


def finished_pipelines(client: "MlflowClient", experiment: str, most: int) -> "list[Run]":
    """The pipeline runs that ended well, the newest first."""
    query = "tags.`parrot.kind` = 'pipeline' AND attributes.status = 'FINISHED'"
    order = ["attributes.start_time DESC"]
    found: list[Run] = client.search_runs([experiment], query, max_results=most, order_by=order)
    return found


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Where both say only what differs from one profile, what one of them does not say is as in that."""
    if before.get("profile") != now.get("profile"):
        return changes({"profile": before.get("profile", "none")}, {"profile": now.get("profile", "none")})
    known = profile_of_params() if "profile" in now else None
    base = param_texts(known[1]) if known else {}
    named = before.keys() | now.keys()
    base = {name: text for name, text in base.items() if name in named}
    return changes({**base, **before}, {**base, **now})


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One phrase for each parameter that is not what it was."""
    found = []
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name), now.get(name)
        if old != new:
            short = all(len(value or "") <= _LONGEST_VALUE for value in (old, new))
            found.append(f"{name} {old or 'unset'} → {new or 'unset'}" if short else name)
    return found


def fetch_artifact(run: str, folder: str, target: Path) -> Path:
    """Copy a stage's artifact folder below `target`.

    Args:
        run: the id of a stage's run or of the pipeline run that it is a child of.

    Raises:
        Gone: there is no such run, or neither it nor a child of it has the folder.
        ParrotError: the store cannot be used.
    """
    from mlflow.exceptions import MlflowException

    file = database_file()
    if file and not file.is_file():
        raise ParrotError(f"{shown_uri()}: no MLflow store to take run {run} from; "
                          f"change to the project's folder, or set MLFLOW_TRACKING_URI")  # fmt: skip
    check_store()
    try:
        client, _ = connect()
        owner = _owner(client, run, folder)
        if owner is None:
            raise Gone(f"{shown_uri()}: neither run {run} nor a child of it has the artifact "
                       f"folder '{folder}'; name a run that ended well")  # fmt: skip
        return Path(client.download_artifacts(owner, folder, str(target)))
    except MlflowException as error:
        said = f"run {run} cannot be read ({reason(error)}); `mlflow ui` shows the runs there are"
        raise refusal(error, f"{shown_uri()}: {said}") from None


def _owner(client: "MlflowClient", run: str, folder: str) -> str | None:
    """The run itself, its newest child, or the maker of one of its cached stages, with such a folder.

    A pipeline run has only the pages and plots of its stages' folders, and is not asked itself.
    """
    found = client.get_run(run)
    children = client.search_runs(
        [found.info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{run}'",
        order_by=["attributes.start_time DESC"],
    )
    candidates: list[str] = [child.info.run_id for child in children]
    if found.data.tags.get("parrot.kind") == "pipeline":
        named = (value for name, value in found.data.tags.items() if re.fullmatch(r"stage\..+\.run", name))
        candidates += [maker for maker in named if maker != _NO_RUN]
    else:
        candidates.insert(0, run)
    for candidate in candidates:
        if any(item.path == folder and item.is_dir for item in client.list_artifacts(candidate)):
            return candidate
    return None
