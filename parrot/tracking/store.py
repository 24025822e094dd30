"""Where MLflow keeps what it learns, and whether it can be reached."""

import contextlib
import logging
import os
import sqlite3
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from parrot.errors import ParrotError
from parrot.lineage import without_password
from parrot.processes import file_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}.items():
    os.environ.setdefault(_name, _value)


def project_folder() -> Path:
    """Where the local store lies; runs of `dvc exp run --temp` and `--queue` share the project's."""
    here = Path.cwd()
    for folder in here.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    return here


def store_uri() -> str:
    """MLFLOW_TRACKING_URI, or the SQLite file in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project_folder() / 'mlflow.db'}"


def shown_uri() -> str:
    """`store_uri()` as it may be printed."""
    return without_password(store_uri())


def check_store() -> None:
    """Find out in milliseconds, without mlflow, whether the store can be used.

    Raises:
        ParrotError: the server does not answer within 5 seconds, or the SQLite file cannot be written.
    """
    uri = store_uri()
    if uri.startswith(("http://", "https://")):
        try:
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5).close()
        except urllib.error.HTTPError:
            pass  # an answer, if only that of a proxy that wants a login
        except (OSError, ValueError) as error:
            raise ParrotError(
                f"MLFLOW_TRACKING_URI: no MLflow server answers at {shown_uri()} "
                f"({getattr(error, 'reason', error)}); start it, or unset the variable to use mlflow.db here"
            ) from None
    elif uri.startswith("sqlite:///"):
        file = uri.removeprefix("sqlite:///")
        try:
            with contextlib.closing(sqlite3.connect(file, timeout=5)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.rollback()
        except sqlite3.Error as error:
            raise ParrotError(
                f"{file}: not usable as MLflow's database ({error}); make it writable, or move it away"
            ) from None


def connect() -> tuple["MlflowClient", str]:
    """A client and the id of our experiment (MLFLOW_EXPERIMENT_NAME, or "parrot"), created if need be."""
    from mlflow import MlflowClient

    # An absent server is reported once, in our words.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "parrot"
    artifacts = project_folder() / "mlruns"
    # Two stages that start together must not both create the tables.
    with file_lock(artifacts / ".lock"):
        client = MlflowClient(tracking_uri=store_uri())
        experiment = client.get_experiment_by_name(name)
        if experiment:
            return client, experiment.experiment_id
        location = (artifacts / name).as_uri() if store_uri().startswith("sqlite") else None
        return client, client.create_experiment(name, artifact_location=location)


def say(sentence: str) -> None:
    print(f"parrot: {sentence}", file=sys.stderr, flush=True)
