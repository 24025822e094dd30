"""One MLflow run as its own process sees it: a folder into which it notes what it has to say.

`parrot.tracking.sending` sends it, so that no process waits for a slow server. What no server takes, and
what a killed process leaves, is still in the folder.
"""

import contextlib
import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from parrot.credentials import without_secrets
from parrot.errors import ParrotError
from parrot.files import write_json
from parrot.pipeline.processes import identity
from parrot.tracking.store import project_folder
from parrot.tracking.values import (
    Values,
    milliseconds,
    of_stage,
    param_texts,
    points,
    shown,
    stage_tags,
    tag_texts,
)

BIRTH = "run.json"
NOTES = "notes.jsonl"
"""`Values` line by line, and a line that says how the run has ended."""
ENDED = "ended"
"""An empty file, there once the last line is being written."""
_STATES = {"FINISHED": "done", "FAILED": "failed", "KILLED": "killed"}


@dataclass
class Birth:
    """What is known of a run when it begins, and what becomes known when it is first sent."""

    name: str
    start: int
    tags: dict[str, str]
    sender: str
    """`identity` of the process that sends it, or of the DVC process whose sender does."""
    stage: str | None = None
    """Address of the stage in DVC, whose inputs the run is to name."""
    parent: str | None = None
    ends_parent: bool = False
    """No process knows which stage of a bare `dvc repro` is the last: each one ends its parent."""
    run: str | None = None
    """Its id in the store."""
    gathered: bool = False
    """Commit, data and inputs have been noted."""

    def write(self, folder: Path) -> None:
        write_json(folder / BIRTH, asdict(self))


def read_birth(folder: Path) -> Birth:
    return Birth(**json.loads((folder / BIRTH).read_text(encoding="utf-8")))


@dataclass
class TrackedRun:
    """A run that goes on. No method waits for the store or fails: tracking is not worth a stage."""

    name: str
    folder: Path
    id: str | None = None
    """Of a pipeline run, once the store has made it."""
    experiment: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _copied: int = 0
    _curves: set[str] = field(default_factory=set)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Nested sections become dotted names; values over MLflow's limit end in how long they were."""
        self.note(Values(params=param_texts(params)))

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Numbers by name; nested sections become dotted names, and what is no number is left out.

        A metric without a step is final and is shown with the parent, too, as `stage/name`; here it is not,
        if there is a curve of that name.
        """
        new = points(metrics, step or 0)
        if step is None:
            own = [point for point in new if point[0] not in self._curves]
            self.note(Values(metrics=own, parent_metrics=of_stage(self.name, new)))
        else:
            self._curves |= {name for name, *_ in new}
            self.note(Values(metrics=new))

    def log_artifact(self, path: Path | str) -> None:
        """Copy a file or a folder as it is into the run, and what people look at of it into its parent."""
        path = Path(path)
        folder = path.name if path.is_dir() else ""
        with self._noting():
            copy = self._copy(path)
            self.note(
                Values(
                    artifacts=[(copy, folder)],
                    parent_artifacts=[
                        (str(Path(file).relative_to(self.folder)), place)
                        for file, place in shown(self.folder / copy)
                    ],
                )
            )

    def add(self, values: Values) -> None:
        """Note these, with copies of the files."""
        with self._noting():
            values.artifacts = [(self._copy(Path(file)), place) for file, place in values.artifacts]
            self.note(values)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self.note(Values(tags=tag_texts(tags)))

    def end(self, status: str) -> None:
        """Note that it has ended as FINISHED, FAILED or KILLED."""
        with self._noting():  # before the last line: whoever has sent that removes the folder
            (self.folder / ENDED).touch()
        self.note(Values(parent_tags=stage_tags(self.name, _STATES[status])))
        self._append({"end": status, "time": milliseconds()})

    def note(self, values: Values) -> None:
        self._append(values.filled())

    def _append(self, line: dict[str, Any]) -> None:
        with self._noting(), self._lock:
            append_line(self.folder, line)

    def _copy(self, path: Path) -> str:
        """Its place in the folder; the next stage or run may write over the original."""
        with self._lock:
            self._copied += 1
            place = Path(f"file-{self._copied}", path.name)
        (self.folder / place).parent.mkdir()
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, self.folder / place)
        return str(place)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            say(f"values of '{self.name}' are lost to MLflow: {error}")


def append_line(folder: Path, line: Mapping[str, Any]) -> None:
    """In one piece, also where two processes append."""
    with (folder / NOTES).open("ab", buffering=0) as file:
        file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def begin(kind: str, name: str, *, sender: str, **known: Any) -> TrackedRun:
    """Make the folder of a run that begins now.

    Args:
        kind: "pipeline" or "stage".
        known: what else is known, as in `Birth`.
    """
    short = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name)
    folder = runs_folder() / f"{short[:40]}-{time.time_ns()}"
    folder.mkdir(parents=True)
    Birth(name, milliseconds(), birth_tags(kind, identity()), sender, **known).write(folder)
    return TrackedRun(name, folder)


def runs_folder() -> Path:
    """Where the folders of runs lie that are not sent yet."""
    return project_folder() / "mlruns" / "unsent"


def birth_tags(kind: str, process: str) -> dict[str, str]:
    """What a later process must know of a run to find it, or to end it for a dead process."""
    return {"parrot.kind": kind, "parrot.host": socket.gethostname(), "parrot.process": process}


@contextlib.contextmanager
def ending(run: TrackedRun) -> Iterator[None]:
    """End the run as the block ends."""
    try:
        yield
    except BaseException as error:
        status = _status(error)
        if status != "FINISHED":
            run.set_tags({"error": str(error) if isinstance(error, ParrotError) else repr(error)})
        run.end(status)
        raise
    run.end("FINISHED")


def _status(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        return "FINISHED" if code == 0 else "FAILED" if code < 128 else "KILLED"
    return "FAILED" if isinstance(error, Exception) else "KILLED"


def say(sentence: str) -> None:
    with contextlib.suppress(OSError):  # who would read it may have ended
        print(f"parrot: {without_secrets(sentence)}", file=sys.stderr, flush=True)
