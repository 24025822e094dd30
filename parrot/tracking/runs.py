"""One MLflow run, from its birth to its end, however the process ends."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parrot.errors import ParrotError
from parrot.files import write_json
from parrot.lineage import without_password
from parrot.processes import find_process
from parrot.tracking.store import connect, project_folder, say, shown_uri
from parrot.tracking.values import Values, param_texts, points, tag_texts

if TYPE_CHECKING:
    from mlflow import MlflowClient

FindParent = Callable[["MlflowClient", str], str | None]

PARENT_VARIABLE = "PARROT_PARENT_RUN"
"""Set by the flow for its stages: the id of the run that they are children of."""

FLUSH_SECONDS = 1.0
RETRY_SECONDS = 30.0


class Run:
    """One MLflow run, written by a background thread; no method but `close` waits for the store."""

    def __init__(self, name: str, find_parent: FindParent, tags: dict[str, str]) -> None:
        self.name = name
        self.id: str | None = None
        self.parent: str | None = None
        self._find_parent = find_parent
        self._birth_tags = tags
        self._values = Values()
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
            self._values.params |= param_texts(params)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Numbers by name; nested sections become dotted names, and what is no number is left out.

        A metric without a step is final and is shown with the parent, too, as `stage/name`.
        """
        new = points(metrics, step or 0)
        with self._lock:
            self._values.metrics += new
            if step is None:
                self._values.parent_metrics += [
                    (f"{self.name}/{name}", value, when, at) for name, value, when, at in new
                ]

    def log_artifact(self, path: Path | str) -> None:
        """Copy a file or a folder into the run; it must stay as it is until the stage ends."""
        with self._lock:
            self._values.artifacts.append(str(path))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        with self._lock:
            self._values.tags |= tag_texts(tags)

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
            say(f"the values are in {file}; `python -m parrot.tracking` sends them")

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
            values, self._values = self._values, Values()
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
            say(f"MLflow at {shown_uri()} does not take values ({reason}); the run goes on")
        self._warned = True


@contextlib.contextmanager
def closing(run: Run) -> Iterator[None]:
    """Run it while the block runs, and end it as the block ends."""
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


def birth_tags(kind: str, process: str) -> dict[str, str]:
    """What a later process must know of a run to find it, or to end it for a dead process."""
    return {"parrot.kind": kind, "parrot.host": socket.gethostname(), "parrot.process": process}


def _end_dead_runs(client: "MlflowClient", experiment: str) -> None:
    """A process killed with SIGKILL leaves its run RUNNING; end those of this machine."""
    query = f"attributes.status = 'RUNNING' AND tags.`parrot.host` = '{socket.gethostname()}'"
    for run in client.search_runs([experiment], query):
        process = run.data.tags.get("parrot.process")
        if process and find_process(process) is None:
            client.set_terminated(run.info.run_id, "KILLED")
