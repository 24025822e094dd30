"""Files that a run gets after it has ended."""

from pathlib import Path

from parrot.errors import ParrotError
from parrot.tracking.store import check_store, connect, reason, shown_uri


def attach(run: str, file: Path, folder: str) -> None:
    """Put a file among the artifacts of a run, over one of its name.

    Raises:
        ParrotError: the store cannot be used, or has no such run.
    """
    from mlflow.exceptions import MlflowException

    check_store()
    try:
        connect()[0].log_artifact(run, str(file), folder)
    except MlflowException as error:
        raise ParrotError(f"{shown_uri()}: run {run} does not take {file.name} ({reason(error)})") from None
