"""The process that sends the runs of one bare `dvc repro`: mlflow is imported once, and not by each stage.

The first stage starts it. It holds a lock, by which later stages see that it is there, and ends soon after
DVC. If it is killed, what it has not sent is on the disk, and the next that sends anything sends that, too.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from parrot.pipeline.processes import STAGE_VARIABLE, find_process
from parrot.tracking.conclude import conclude
from parrot.tracking.parents import parent_of_stage
from parrot.tracking.runs import Birth, TrackedRun, read_birth
from parrot.tracking.sending import Sender
from parrot.tracking.store import project_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient

_WATCH_SECONDS = 0.3
_WAIT_SECONDS = 0.03


def start_sender(dvc: str) -> None:
    """Start the sender of this DVC process (an `identity`), unless it lives.

    It is no child of the stage, which ends its children, and hears nothing of Ctrl-C.
    """
    file = _lock_file(dvc)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        code = (
            "import sys; from parrot.tracking.background import send_until_end; send_until_end(sys.argv[1])"
        )
        command = [sys.executable, "-P", "-c", code, dvc]
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}  # the code that the stage is of
        environment.pop(STAGE_VARIABLE, None)
        subprocess.run(
            ["sh", "-c", '"$@" &', "sh", *command], env=environment,
            stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=[lock.fileno()], check=True,
        )  # fmt: skip


def wait_until_sent(run: TrackedRun, dvc: str) -> None:
    """Wait until a run that has ended is in the store, or its sender has given it up or ended."""
    with contextlib.suppress(FileNotFoundError):
        while read_birth(run.folder).sender == dvc and _lives(dvc):
            time.sleep(_WAIT_SECONDS)


def _lives(dvc: str) -> bool:
    with _lock_file(dvc).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _lock_file(dvc: str) -> Path:
    return project_folder() / "mlruns" / f".sender-{dvc}"


def send_until_end(dvc: str) -> None:
    """Send the runs of the stages of this DVC process until it has ended, and what it has come to."""

    parents = set()

    def prepare(client: "MlflowClient", experiment: str, birth: Birth) -> None:
        if birth.stage:
            birth.parent = parent_of_stage(client, experiment, dvc, birth.stage)
            parents.add(birth.parent)

    sender = Sender(dvc, prepare)
    while find_process(dvc):
        time.sleep(_WATCH_SECONDS)
    sender.close()
    for parent in parents:
        conclude(parent)
    _lock_file(dvc).unlink(missing_ok=True)
