"""What MLflow learns of a run. Nothing else in the project imports mlflow.

One parent run stands for one pipeline run and has one child run per stage. The store is
`mlflow.db` and `mlruns/` in the project, or what MLFLOW_TRACKING_URI names. A background thread
does all the writing, so that neither mlflow's import nor a slow server holds up a stage.
`python -m parrot.tracking` creates the store and sends what an absent server has left behind.
"""

import contextlib
import json
import logging
import os
import socket
import sqlite3
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from parrot.config import PARAMS_FILE
from parrot.errors import ParrotError
from parrot.files import write_json
from parrot.lineage import as_text, flatten, input_hashes, run_tags, without_password
from parrot.processes import dvc_process, file_lock, find_process, identity

if TYPE_CHECKING:
    from mlflow import MlflowClient

FindParent = Callable[["MlflowClient", str], str | None]

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}.items():
    os.environ.setdefault(_name, _value)

PARENT_VARIABLE = "PARROT_PARENT_RUN"
"""Set by the flow for its stages: the id of the run that they are children of."""

FLUSH_SECONDS = 1.0
RETRY_SECONDS = 30.0
_PARAM_LIMIT = 6000  # characters; MLflow cuts longer values without a word
_BATCH = {"params": 100, "tags": 100, "metrics": 500}  # MLflow's limits for one request


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


@dataclass
class _Values:
    """What is still to be written. Writing any of it twice is harmless."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    """name, value, milliseconds, step"""
    parent_metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(asdict(self).values())

    def put_back(self, earlier: "_Values") -> None:
        self.params = earlier.params | self.params
        self.tags = earlier.tags | self.tags
        self.metrics[:0] = earlier.metrics
        self.parent_metrics[:0] = earlier.parent_metrics
        self.artifacts[:0] = earlier.artifacts

    def write(self, client: "MlflowClient", run: str, parent: str | None) -> None:
        from mlflow.entities import Metric, Param, RunTag

        params = [Param(name, value) for name, value in self.params.items()]
        tags = [RunTag(name, value) for name, value in self.tags.items()]
        for target, kind, items in (
            (run, "params", params),
            (run, "tags", tags),
            (run, "metrics", [Metric(*point) for point in self.metrics]),
            (parent, "metrics", [Metric(*point) for point in self.parent_metrics]),
        ):
            for start in range(0, len(items) if target else 0, _BATCH[kind]):
                client.log_batch(target, **{kind: items[start : start + _BATCH[kind]]})
        for path in self.artifacts:
            if Path(path).is_dir():
                client.log_artifacts(run, path, Path(path).name)
            else:
                client.log_artifact(run, path)


class Run:
    """One MLflow run, written by a background thread; no method but `close` waits for the store."""

    def __init__(self, name: str, find_parent: FindParent, tags: dict[str, str]) -> None:
        self.name = name
        self.id: str | None = None
        self.parent: str | None = None
        self._find_parent = find_parent
        self._birth_tags = tags
        self._values = _Values()
        self._lock = threading.Lock()
        self._client: MlflowClient | None = None
        self._opened = threading.Event()
        self._stop = threading.Event()
        self._warned = False
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Nested sections become dotted names; values over MLflow's limit end in how long they were."""
        with self._lock:
            self._values.params |= _param_texts(params)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Numbers by name; nested sections become dotted names, and what is no number is left out.

        A metric without a step is final and is shown with the parent, too, as `stage/name`.
        """
        now = time.time_ns() // 1_000_000
        points: list[tuple[str, float, int, int]] = [
            (_allowed(name), float(value), now, step or 0)
            for name, value in flatten(metrics).items()
            if isinstance(value, int | float)
        ]
        with self._lock:
            self._values.metrics += points
            if step is None:
                self._values.parent_metrics += [
                    (f"{self.name}/{name}", value, now, 0) for name, value, _, _ in points
                ]

    def log_artifact(self, path: Path | str) -> None:
        """Copy a file or a folder into the run; it must stay as it is until the stage ends."""
        with self._lock:
            self._values.artifacts.append(str(path))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        texts = {_allowed(name): as_text(value)[:_PARAM_LIMIT] for name, value in tags.items()}
        with self._lock:
            self._values.tags |= texts

    def wait_until_open(self) -> str | None:
        """The run's id, or None where the store failed."""
        self._opened.wait()
        return self.id

    def close(self, status: str) -> None:
        """Write what is left and end the run as FINISHED, FAILED or KILLED."""
        self._stop.set()
        self._thread.join()
        try:
            if self._client is None:
                self._open()
            self._flush()
            assert self._client and self.id
            self._client.set_terminated(self.id, status)
            if self.parent and PARENT_VARIABLE not in os.environ:
                # No process knows which stage of a bare `dvc repro` is the last: each one closes.
                self._client.set_terminated(self.parent, status)
        except Exception as error:  # the stage's work must not be lost with its tracking
            self._warn(error)
            file = project_folder() / "mlruns" / "unsent" / f"{self.name}-{time.time_ns()}.json"
            left = {"name": self.name, "run": self.id, "parent": self.parent, "status": status}
            write_json(file, left | asdict(self._values))
            _say(f"the values are in {file}; `python -m parrot.tracking` sends them")

    def _work(self) -> None:
        pause = FLUSH_SECONDS
        while True:
            try:
                if self._client is None:
                    self._open()
                self._flush()
                pause = FLUSH_SECONDS
            except Exception as error:  # whatever ails the store, training goes on
                self._warn(error)
                pause = RETRY_SECONDS
            self._opened.set()
            if self._stop.wait(pause):
                return

    def _open(self) -> None:
        client, experiment = connect()
        _end_dead_runs(client, experiment)
        self.parent = self._find_parent(client, experiment)
        tags = self._birth_tags | ({"mlflow.parentRunId": self.parent} if self.parent else {})
        self.id = client.create_run(experiment, run_name=self.name, tags=tags).info.run_id
        self._client = client

    def _flush(self) -> None:
        assert self._client and self.id
        with self._lock:
            values, self._values = self._values, _Values()
        try:
            if values:
                values.write(self._client, self.id, self.parent)
        except Exception:
            with self._lock:
                self._values.put_back(values)
            raise

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            reason = without_password(str(error)).strip().partition("\n")[0][:300]
            _say(f"MLflow at {shown_uri()} does not take values ({reason}); the run goes on")
        self._warned = True


@contextlib.contextmanager
def track_stage(stage: str, params: Mapping[str, Any]) -> Iterator[Run]:
    """Track one stage: `params` are those that it depends on, by section.

    Under the flow the run is a child of the flow's; under a bare `dvc repro` the stages of that
    DVC process share a parent, made by the first; without DVC the run stands alone.

    Raises:
        ParrotError: the store cannot be used, found before the stage begins.
    """
    check_store()
    run = Run(stage, _parent_of_stage, _birth_tags("stage", identity()))
    run.log_params(params)
    run.set_tags(run_tags() | {f"input.{path}": md5 for path, md5 in input_hashes(stage).items()})
    with _closing(run):
        yield run


@contextlib.contextmanager
def track_pipeline(name: str = "pipeline") -> Iterator[Run]:
    """Track a pipeline run; stages started inside become children of it.

    Raises:
        ParrotError: the store cannot be used.
    """
    check_store()
    run = Run(name, lambda client, experiment: None, _birth_tags("pipeline", identity()))
    run.log_params(_all_params())
    run.set_tags(run_tags())
    with _closing(run):
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
        _Values(**left).write(client, run, parent)
        client.set_terminated(run, status)
        file.unlink()
        _say(f"sent the values of '{name}' that were left in {file.name}")


@contextlib.contextmanager
def _closing(run: Run) -> Iterator[None]:
    run.start()
    try:
        yield
    except BaseException as error:
        status = _status(error)
        if status != "FINISHED":
            run.set_tags({"error": str(error) if isinstance(error, ParrotError) else repr(error)})
        run.close(status)
        raise
    run.close("FINISHED")


def _status(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        return "FINISHED" if code == 0 else "FAILED" if code < 128 else "KILLED"
    return "FAILED" if isinstance(error, Exception) else "KILLED"


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
    tags = _birth_tags("pipeline", identity(dvc)) | run_tags()
    made: str = client.create_run(experiment, run_name="pipeline", tags=tags).info.run_id
    _Values(params=_param_texts(_all_params())).write(client, made, None)
    return made


def _birth_tags(kind: str, process: str) -> dict[str, str]:
    """What a later process must know of a run to find it, or to end it for a dead process."""
    return {"parrot.kind": kind, "parrot.host": socket.gethostname(), "parrot.process": process}


def _param_texts(params: Mapping[str, Any]) -> dict[str, str]:
    texts = {_allowed(name): as_text(value) for name, value in flatten(params).items()}
    return {
        name: text if len(text) <= _PARAM_LIMIT else f"{text[: _PARAM_LIMIT - 40]}… ({len(text)} characters)"
        for name, text in texts.items()
    }


def _all_params() -> dict[str, Any]:
    return yaml.safe_load(PARAMS_FILE.read_text(encoding="utf-8")) if PARAMS_FILE.exists() else {}


def _end_dead_runs(client: "MlflowClient", experiment: str) -> None:
    """A process killed with SIGKILL leaves its run RUNNING; end those of this machine."""
    query = f"attributes.status = 'RUNNING' AND tags.`parrot.host` = '{socket.gethostname()}'"
    for run in client.search_runs([experiment], query):
        process = run.data.tags.get("parrot.process")
        if process and find_process(process) is None:
            client.set_terminated(run.info.run_id, "KILLED")


def _allowed(name: str) -> str:
    """The name with what MLflow refuses in it replaced."""
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)


def _say(sentence: str) -> None:
    print(f"parrot: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        ensure_store()
    except ParrotError as error:
        sys.exit(f"parrot: {error}")
