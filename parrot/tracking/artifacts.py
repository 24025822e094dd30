"""Fetching what an earlier run has left in MLflow."""

from pathlib import Path
from typing import TYPE_CHECKING

from parrot.credentials import without_secrets
from parrot.errors import ParrotError
from parrot.tracking.cached import makers
from parrot.tracking.store import check_store, connect, database_file, shown_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient


def fetch_artifact(run: str, folder: str, target: Path) -> Path:
    """Copy a stage's artifact folder below `target`.

    Args:
        run: the id of a stage's run or of the pipeline run that it is a child of.

    Raises:
        ParrotError: the store cannot be used, there is no such run, or neither it nor a child of it
            has the folder.
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
            raise ParrotError(f"{shown_uri()}: neither run {run} nor a child of it has the artifact "
                              f"folder '{folder}'; name a run that ended well")  # fmt: skip
        return Path(client.download_artifacts(owner, folder, str(target)))
    except MlflowException as error:
        reason = without_secrets(str(error)).strip().partition("\n")[0]
        raise ParrotError(
            f"{shown_uri()}: run {run} cannot be read ({reason}); `mlflow ui` shows the runs there are"
        ) from None


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
        candidates += makers(found.data.tags)
    else:
        candidates.insert(0, run)
    for candidate in candidates:
        if any(item.path == folder and item.is_dir for item in client.list_artifacts(candidate)):
            return candidate
    return None
