"""One MLflow run, from its birth to its end, however the process ends."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parrot.credentials import without_secrets
from parrot.errors import ParrotError
from parrot.pipeline.processes import find_process
from parrot.tracking.cached import stage_tags
from parrot.tracking.store import connect, say, shown_uri
from parrot.tracking.unsent import Unsent, keep
from parrot.tracking.values import Values, artifact, of_stage, param_texts, points, shown, tag_texts

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Birth:
    """What only the store can tell of a run before it is made."""

    name: str
    parent: str | None = None


Prepare = Callable[["MlflowClient", str], Birth]
"""From a client and the experiment."""

PARENT_VARIABLE = "PARROT_PARENT_RUN"
"""Set by the flow for its stages: the id of the run that they are children of."""

_STATES = {"FINISHED": "done", "FAILED": "failed", "KILLED": "killed"}
FLUSH_SECONDS = 1.0
RETRY_SECONDS = 30.0


class Run:
    """One MLflow run, written by a background thread; no method but `close` waits for the store.

    Args:
        stage: what its metrics are called by in the pipeline run.
        prepare: asked in the background, once the store is there.
        gather: asked in the background for tags that take a moment.
    """

    def __init__(
        self,
        stage: str,
        prepare: Prepare,
        tags: dict[str, str],
        gather: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.stage = stage
        self.name = stage
        self.id: str | None = None
        self.experiment: str | None = None
        self.parent: str | None = None
        self._prepare = prepare
        self._gather = gather
        self._birth_tags = tags
        self._start = _now()
        self._values = Values()
        self._lock = threading.Lock()
        self._client: MlflowClient | None = None
        self._opened = threading.Event()
        self._stop = threading.Event()
        self._asked = False
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
                self._values.parent_metrics += of_stage(self.stage, new)

    def log_artifact(self, path: Path | str) -> None:
        """Copy a file or a folder into the run, and what people look at of it into its parent.

        It must stay as it is until the stage ends.
        """
        with self._lock:
            self._values.artifacts.append(artifact(path))
            self._values.parent_artifacts += shown(path)

    def add(self, values: Values) -> None:
        """Write these, too."""
        with self._lock:
            self._values.put_back(values)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        with self._lock:
            self._values.tags |= tag_texts(tags)

    def wait_until_open(self) -> str | None:
        """The run's id, or None where the store failed."""
        self._opened.wait()
        return self.id

    def close(self, status: str) -> None:
        """Write what is left and end the run as FINISHED, FAILED or KILLED."""
        with self._lock:
            self._values.parent_tags |= stage_tags(self.stage, _STATES[status])
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
            left = Unsent(
                self.name, self.id, self.parent, status, self._start, _now(), tag_texts(self._birth_tags)
            )
            try:
                folder = keep(left, self._values)
            except OSError as full:
                say(f"the values of '{self.name}' are lost: {full}")
            else:
                say(f"the values are in {folder}; `python -m parrot.tracking` sends them")

    def _work(self) -> None:
        with contextlib.suppress(Exception):  # no tag is worth a stage
            self.set_tags(self._gather())
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
        client, self.experiment = connect()
        _end_dead_runs(client, self.experiment)
        birth = self._prepare(client, self.experiment)
        self.name, self.parent = birth.name, birth.parent
        self.id = self._made_by_an_earlier_try(client) or self._make(client)
        self._client = client

    def _make(self, client: "MlflowClient") -> str:
        assert self.experiment
        self._asked = True
        tags = self._birth_tags | ({"mlflow.parentRunId": self.parent} if self.parent else {})
        made = client.create_run(self.experiment, self._start, run_name=self.name, tags=tags)
        return str(made.info.run_id)

    def _made_by_an_earlier_try(self, client: "MlflowClient") -> str | None:
        """A server that is too slow to answer has made the run all the same."""
        if not self._asked or not self.experiment:
            return None
        process = self._birth_tags["parrot.process"]
        query = f"attributes.start_time = {self._start} AND tags.`parrot.process` = '{process}'"
        found = client.search_runs([self.experiment], query, max_results=1)
        return str(found[0].info.run_id) if found else None

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
            reason = without_secrets(str(error)).strip().partition("\n")[0][:300]
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


def _now() -> int:
    return time.time_ns() // 1_000_000


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
