"""Where MLflow keeps what it learns, and whether it can be reached."""

import contextlib
import http.client
import logging
import os
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from parrot.credentials import split_address, without_secrets
from parrot.errors import Gone, ParrotError
from parrot.pipeline.processes import file_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.exceptions import MlflowException

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}.items():
    os.environ.setdefault(_name, _value)

_TRAINING_VIEW = {"mlflow.experimentKind": "custom_model_development"}
"""Else MLflow 3 shows the experiment as one of generative AI: without metrics and parameters."""


def project_folder() -> Path:
    """Where the local store lies; runs of `dvc exp run --temp` and `--queue` share the project's."""
    here = Path.cwd()
    for folder in here.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    return here


def store_uri() -> str:
    """MLFLOW_TRACKING_URI in a form that MLflow takes, or the SQLite file in the project's folder.

    A server's address is without its password: `hand_over_credentials` tells MLflow that.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        return f"sqlite:///{project_folder() / 'mlflow.db'}"
    address = split_address(given)
    if _is_server(given) or not (address.username or address.password):
        return address.uri
    scheme, _, rest = address.uri.partition("://")
    return f"{scheme}://{quote(address.username, safe='')}:{quote(address.password, safe='')}@{rest}"


def shown_uri() -> str:
    """`store_uri()` as it may be printed."""
    return without_secrets(store_uri())


def reason(error: Exception) -> str:
    """The first line of what MLflow says of an error, as it may be printed."""
    return without_secrets(str(error)).strip().partition("\n")[0][:300]


def refusal(error: "MlflowException", said: str) -> ParrotError:
    """The sentence `said` as an error, as `Gone` if what was asked for is not in the store."""
    return Gone(said) if error.error_code == "RESOURCE_DOES_NOT_EXIST" else ParrotError(said)


def hand_over_credentials() -> None:
    """Put the password or token in MLFLOW_TRACKING_URI where MLflow looks for it, and out of the address.

    Else it would be in every address that MLflow and `requests` name when something goes wrong.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not _is_server(given):
        return
    address = split_address(given)
    os.environ["MLFLOW_TRACKING_URI"] = address.uri
    if address.token:
        os.environ["MLFLOW_TRACKING_TOKEN"] = address.token
    if address.username:
        os.environ["MLFLOW_TRACKING_USERNAME"] = address.username
        os.environ["MLFLOW_TRACKING_PASSWORD"] = address.password


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def database_file() -> Path | None:
    """The SQLite file, if the store is one."""
    uri = store_uri()
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def check_store() -> None:
    """Find out in milliseconds, without mlflow, whether the store can be used.

    Raises:
        ParrotError: the server does not answer within 5 seconds, or the SQLite file cannot be written.
    """
    hand_over_credentials()
    uri = store_uri()
    if _is_server(uri):
        try:
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5).close()
        except urllib.error.HTTPError:
            pass  # an answer, if only that of a proxy that wants a login
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ParrotError(
                f"MLFLOW_TRACKING_URI: no MLflow server answers at {shown_uri()} "
                f"({getattr(error, 'reason', error)}); start it, or unset the variable to use mlflow.db here"
            ) from None
    elif file := database_file():
        try:
            with contextlib.closing(sqlite3.connect(file, timeout=5)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.rollback()
        except sqlite3.Error as error:
            raise ParrotError(
                f"{file}: not usable as MLflow's database ({error}); make it writable, or move it away"
            ) from None


def connect() -> tuple["MlflowClient", str]:
    """A client and the id of our experiment (MLFLOW_EXPERIMENT_NAME, or "parrot"), created if need be.

    Artifacts lie in `mlruns/` beside a SQLite file. MLflow keeps their absolute path: in a moved or
    copied checkout it is corrected here, so that nothing is written into the place it came from.
    """
    from mlflow import MlflowClient

    hand_over_credentials()
    # An absent server is reported once, in our words.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    name = _experiment_name()
    file = database_file()
    location = (file.parent / "mlruns" / name).as_uri() if file else None
    # Two stages that start together must not both create the tables.
    with file_lock((file.parent if file else project_folder()) / "mlruns" / ".lock"):
        client = MlflowClient(tracking_uri=store_uri())
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            if file:
                _hide_empty_default(client)
            return client, client.create_experiment(name, location, tags=_TRAINING_VIEW)
        if file and location:
            _move_artifacts(file, experiment.artifact_location, location)
        return client, experiment.experiment_id


def _hide_empty_default(client: "MlflowClient") -> None:
    """MLflow makes an experiment "Default" of its own, which would stay empty; deleted it can be restored."""
    default = client.get_experiment("0")
    if default.lifecycle_stage == "active" and not client.search_runs(["0"], max_results=1):
        client.delete_experiment("0")


def _move_artifacts(database: Path, old: str, new: str) -> None:
    """Let the runs of all experiments beside `old` have their artifacts beside `new`, if both are ours.

    MLflow writes the absolute path of the artifacts into its database, for the experiment and for each
    run, turns a relative one into an absolute one, and has no way to change it.

    Args:
        old: where the database says that our experiment's artifacts are, a URI.
        new: where they are if they have come along with the database: `mlruns/NAME` beside it.
    """
    old_home, _, old_name = old.rpartition("/")
    new_home, _, new_name = new.rpartition("/")
    ours = old_name == new_name and old_home.endswith("/mlruns")
    if old == new or not ours:
        return
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        for table, key, column in (
            ("experiments", "experiment_id", "artifact_location"),
            ("runs", "run_uuid", "artifact_uri"),
        ):
            rows = connection.execute(f"SELECT {key}, {column} FROM {table}").fetchall()
            moved = [
                (new_home + uri.removeprefix(old_home), row)
                for row, uri in rows
                if uri and uri.startswith(f"{old_home}/")
            ]
            if table == "runs":  # a database that was moved alone still finds what was left behind
                moved = [(uri, row) for uri, row in moved if _came_along(uri, old_home, new_home)]
            connection.executemany(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", moved)


def _came_along(uri: str, old_home: str, new_home: str) -> bool:
    before = old_home + uri.removeprefix(new_home)
    return _path(uri).exists() or not _path(before).exists()


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def existing_run(client: "MlflowClient", run: str | None) -> "Run | None":
    """The run, if this store has it and nobody has deleted it."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_run(run) if run else None
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return found if found and found.info.lifecycle_stage == "active" else None


def where_to_look(experiment: str | None = None, run: str | None = None) -> list[tuple[str, str]]:
    """What to type and where to look, each with a word on what it shows.

    Args:
        experiment: its id; looked up in the SQLite file if not given.
    """
    uri, file = store_uri(), database_file()
    if file and not file.is_file():
        return []
    experiment = experiment or (_experiment_in(file) if file else None)
    pages = uri.rstrip("/") if _is_server(uri) else "http://127.0.0.1:5000"
    lines = []
    if not _is_server(uri):
        shown = f"sqlite:///{_from_here(file)}" if file else '"$MLFLOW_TRACKING_URI"'
        lines.append(("runs, parameters, curves", f"mlflow ui --backend-store-uri {shown}"))
    if experiment:
        # MLflow 3 opens on pages for generative AI, which have nothing to show of a training.
        runs = f"{pages}/#/experiments/{experiment}/runs"
        lines.append(("all runs", f"{runs}?workflowType=machine_learning"))
        if run:
            lines.append(("this run", f"{runs}/{run}?workflowType=machine_learning"))
    return lines


def _experiment_in(database: Path) -> str | None:
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(database)) as connection:
        query = "SELECT experiment_id FROM experiments WHERE name = ?"
        found = connection.execute(query, (_experiment_name(),)).fetchone()
        return str(found[0]) if found else None
    return None


def _experiment_name() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "parrot"


def _from_here(file: Path) -> Path:
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
