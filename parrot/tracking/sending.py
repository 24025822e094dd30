"""From the folders of runs into MLflow: as they go on, or later, what an absent server has left behind."""

import contextlib
import importlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parrot.lineage import dvc_hashes, run_tags
from parrot.pipeline.graph import is_code
from parrot.pipeline.processes import file_lock, find_process
from parrot.tracking.runs import (
    BIRTH,
    ENDED,
    NOTES,
    Birth,
    TrackedRun,
    append_line,
    read_birth,
    runs_folder,
    say,
)
from parrot.tracking.store import connect, existing_run, reason, shown_uri
from parrot.tracking.values import Values, code_tags, milliseconds, tag_texts

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUSH_SECONDS = 1.0
RETRY_SECONDS = 30.0
LOOK_SECONDS = 0.1
"""Between two looks at whether a run has ended, which is sent at once."""
_UNKNOWN = "parrot.origin_unknown"

Prepare = Callable[["MlflowClient", str, Birth], None]
"""Completes what is known of a run before the store makes it; is told the client and the experiment."""


class Sender:
    """Sends runs while they go on, in a thread of its own; mlflow is imported there, which takes seconds.

    Args:
        name: as the runs that it is to send name their sender.
        prepare: asked in the background, before the store makes a run.
        own: the run of this process, if it is one: made first, and ended after the others.
    """

    def __init__(self, name: str, prepare: Prepare, own: TrackedRun | None = None) -> None:
        self._name = name
        self._prepare = prepare
        self._own = own
        self._sent: dict[Path, int] = {}
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._opened = threading.Event()
        self._stop = threading.Event()
        self._warned = False
        # The thread asks DVC, whose import replaces the lock of all progress bars: not while one is drawn.
        importlib.import_module("dvc.progress")
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def wait_until_open(self) -> str | None:
        """The id of its own run, or None where the store failed."""
        self._opened.wait()
        return self._own.id if self._own else None

    def close(self) -> None:
        """Send what is left. What cannot be sent stays, and it is said where."""
        self._stop.set()
        self._thread.join()
        try:
            client = self._send_noted()
            send_all(client, self._experiment)  # what was left while a server was away
        except Exception as error:  # the stage's work must not be lost with its tracking
            self._warn(error)
            _leave(self._folders())

    def _work(self) -> None:
        while not self._stop.is_set():
            pause = FLUSH_SECONDS
            try:
                self._send_noted()
            except Exception as error:  # whatever ails the store, training goes on
                self._warn(error)
                pause = RETRY_SECONDS
                _leave(self._ended())
            self._opened.set()
            until = time.monotonic() + pause
            while time.monotonic() < until and not self._ended():
                if self._stop.wait(LOOK_SECONDS):
                    break

    def _send_noted(self) -> "MlflowClient":
        folders = self._folders()
        for folder in folders:
            try:
                _gather(folder)
            except Exception as error:  # no tag is worth a stage, but the run says that it lacks some
                with contextlib.suppress(OSError):  # its folder is gone or full: the sending below says so
                    append_line(folder, Values(tags=tag_texts({_UNKNOWN: error})).filled())
        client = self._client or self._open()
        errors = []
        for folder in folders:
            try:
                birth = read_birth(folder)
                if birth.run is None:
                    self._prepare(client, self._experiment, birth)
                    _make(client, self._experiment, folder, birth)
                self._sent[folder] = _send(client, self._experiment, folder, self._sent.get(folder, 0))
            except Exception as error:  # the other runs are well
                errors.append(error)
        if errors:
            raise errors[0]
        return client

    def _ended(self) -> list[Path]:
        """Runs of other processes, which may wait until theirs is sent."""
        own = self._own.folder if self._own else None
        return [folder for folder in self._folders() if folder != own and (folder / ENDED).exists()]

    def _folders(self) -> list[Path]:
        """Of the runs to be sent, by their begin; its own is last, as it ends when its stages have ended."""
        own = self._own.folder if self._own else None
        found = []
        for file in runs_folder().glob(f"*/{BIRTH}"):
            with contextlib.suppress(Exception):  # of somebody else
                birth = read_birth(file.parent)
                if birth.sender == self._name:
                    found.append((file.parent == own, birth.start, file.parent))
        return [folder for *_, folder in sorted(found)]

    def _open(self) -> "MlflowClient":
        client, self._experiment = connect()
        _end_dead_runs(client, self._experiment)
        if own := self._own:
            birth = read_birth(own.folder)
            self._prepare(client, self._experiment, birth)
            own.id = _make(client, self._experiment, own.folder, birth)
            own.experiment = self._experiment
        self._client = client
        send_all(client, self._experiment)  # what killed processes have left
        return client

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            say(f"MLflow at {shown_uri()} does not take values ({reason(error)}); the run goes on")
        self._warned = True


def _leave(folders: Sequence[Path]) -> None:
    """Let anyone send them."""
    for folder in folders:
        with contextlib.suppress(OSError):
            birth = read_birth(folder)
            birth.sender = ""
            birth.write(folder)
    if folders:
        say(f"the values are in {runs_folder()}; `python -m parrot.tracking` sends them")


def send_all(client: "MlflowClient", experiment: str) -> None:
    """Send every folder that nobody else sends; one that cannot be sent is named and stays."""
    if not any(runs_folder().glob(f"*/{BIRTH}")):
        return
    with file_lock(runs_folder().parent / ".sending"):  # no two send the same
        for file in sorted(runs_folder().glob(f"*/{BIRTH}")):
            folder = file.parent
            try:
                birth = read_birth(folder)
                if find_process(birth.sender):
                    continue
                _send_left(client, experiment, folder, birth)
            except Exception as error:  # of the file or of the store: whatever it is, the next may be well
                say(f"{folder}: not sent ({type(error).__name__}: {reason(error)}); "
                    f"`python -m parrot.tracking` tries again, or remove it")  # fmt: skip
            else:
                say(f"sent the values of '{birth.name}' that were left in {folder}")


def _send_left(client: "MlflowClient", experiment: str, folder: Path, birth: Birth) -> None:
    """Send a folder; if that fails, take back the run that the store has made for it."""
    birth.run, birth.parent = (
        found.info.run_id if (found := existing_run(client, run)) else None
        for run in (birth.run, birth.parent)
    )
    birth.write(folder)
    was_there = birth.run is not None
    try:
        _send(client, experiment, folder)
    except Exception:
        birth = read_birth(folder)
        if birth.run and not was_there:
            # The next try goes on with this run, should it not be possible to delete it.
            client.delete_run(birth.run)
            birth.run = None
            birth.write(folder)
        raise


def _send(client: "MlflowClient", experiment: str, folder: Path, start: int = 0) -> int:
    """Send what has been noted from byte `start` on, and remove the folder if that is the end.

    Returns:
        Where to go on.
    """
    birth = read_birth(folder)
    run = birth.run or _make(client, experiment, folder, birth)
    alive = find_process(birth.tags["parrot.process"]) is not None  # asked before its last words are read
    values, end, start = _read_notes(folder, start)
    values.write(client, run, birth.parent, folder)
    if not (end or alive):
        end = {"end": "KILLED", "time": milliseconds()}
    if end:
        ended = [run, birth.parent] if birth.parent and birth.ends_parent else [run]
        for name in ended:
            client.set_terminated(name, end["end"], end_time=end["time"])
        shutil.rmtree(folder)
    return start


def _make(client: "MlflowClient", experiment: str, folder: Path, birth: Birth) -> str:
    """Let the store make the run, if it has not done so already and was only too slow to answer."""
    process = birth.tags["parrot.process"]
    query = f"attributes.start_time = {birth.start} AND tags.`parrot.process` = '{process}'"
    for run in client.search_runs([experiment], query, max_results=1):
        birth.run = run.info.run_id
    if birth.run is None:
        tags = birth.tags | ({"mlflow.parentRunId": birth.parent} if birth.parent else {})
        made = client.create_run(experiment, birth.start, run_name=birth.name, tags=tags)
        birth.run = str(made.info.run_id)
    birth.write(folder)
    return birth.run


def _gather(folder: Path) -> None:
    """Note where the run comes from, once: that takes a moment, for which no stage waits."""
    birth = read_birth(folder)
    if birth.gathered:
        return
    birth.gathered = True  # or not, but there is no second try: this is asked every second
    birth.write(folder)
    read = dvc_hashes(birth.stage, "deps") if birth.stage else {}
    code = {path: md5 for path, md5 in read.items() if is_code(path)}
    inputs = {path: md5 for path, md5 in read.items() if md5 and path not in code}
    tags = run_tags()
    if birth.stage and not read:
        tags[_UNKNOWN] = "DVC tells nothing that the stage reads; `dvc status` may say why"
    append_line(folder, Values(tags=tag_texts(tags) | code_tags(code), inputs=inputs).filled())


def _read_notes(folder: Path, start: int) -> tuple[Values, dict[str, Any] | None, int]:
    """All that is noted from byte `start` on, how the run has ended if it has, and where the notes end."""
    values, end = Values(), None
    if not (folder / NOTES).exists():
        return values, end, start
    with (folder / NOTES).open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):  # is being written
                break
            start += len(line)
            note = json.loads(line)
            if "end" in note:
                end = end or note
            else:
                values.add(Values(**note))
    return values, end, start


def _end_dead_runs(client: "MlflowClient", experiment: str) -> None:
    """A process killed with SIGKILL leaves its run RUNNING; end those of this machine."""
    query = f"attributes.status = 'RUNNING' AND tags.`parrot.host` = '{socket.gethostname()}'"
    for run in client.search_runs([experiment], query):
        process = run.data.tags.get("parrot.process")
        if process and find_process(process) is None:
            client.set_terminated(run.info.run_id, "KILLED")
