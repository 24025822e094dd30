"""What Prefect's server is told of a run: what it does, whose it is, and how far its stages are."""

import contextlib
import ctypes
import re
import socket
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateType
from prefect.client.schemas.filters import FlowRunFilterTags as Tags
from prefect.client.schemas.objects import State
from prefect.client.schemas.objects import StateType as Kind
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Crashed

from flows.reproduce import stopping
from flows.shown import artifact_key
from parrot.credentials import without_secrets
from parrot.pipeline.processes import find_process, identity

UPDATE_SECONDS = 5.0
"""Between two states of a stage's progress, at least."""

_PR_SET_TIMERSLACK = 29  # linux/prctl.h
_SLACK_NANOSECONDS = 500_000_000
_AWAY_SECONDS = 600.0
_ANSWER_SECONDS = 30.0
_PROCESS = "process:"
_PERCENT = re.compile(r"(\d{1,3})%\|")
_UNFINISHED = [Kind.PENDING, Kind.RUNNING, Kind.CANCELLING]


def start_own_server() -> None:
    """Start the server that Prefect would start for the flow, so that it leaves the cores to what trains.

    Its queues look for work ten times a second and more. Linux may wake it later than it asks for, and so for
    several of them at once; requests wake it as ever.
    """
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: 0
    prctl(_PR_SET_TIMERSLACK, _SLACK_NANOSECONDS, 0, 0, 0)  # of this thread, and of what it starts
    try:
        get_client(sync_client=True)
    finally:
        prctl(_PR_SET_TIMERSLACK, 0, 0, 0, 0)  # as before


def wait_for_server() -> None:
    """Return once the server answers: a client that has not reached it yet gives up at the first refusal.

    A server that is away for too long is left to whoever asks it next.
    """
    deadline = time.monotonic() + _AWAY_SECONDS
    with get_client(sync_client=True) as client:
        while client.api_healthcheck() and time.monotonic() < deadline and not stopping.wait(1.0):
            pass


@contextlib.contextmanager
def impatient_client() -> Iterator[SyncPrefectClient]:
    """One that asks once: for loops that ask again themselves, and soon. Others wait up to two minutes."""
    own = get_client(sync_client=True, httpx_settings={"timeout": _ANSWER_SECONDS})
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), own as client:
        yield client


def run_name() -> str:
    """When the run began, and what it brings up to date."""
    stages = flow_run.get_parameters().get("stages")
    return f"{datetime.now():%Y-%m-%d %H:%M} {', '.join(stages or ['everything'])}"


def claim_run() -> None:
    """Note down which process this run is, and end the runs of this machine whose process is dead.

    A process killed with SIGKILL cannot say so, and its run would stay "Running" for ever.
    """
    here = f"host:{socket.gethostname()}"
    with get_client(sync_client=True) as client:
        if own := flow_run.get_id():
            tags = {*flow_run.get_tags(), here, f"{_PROCESS}{identity()}"}
            kept = dict(flow_run.get_parameters())
            if overrides := kept.get("overrides"):  # the server has them before anybody can refuse a secret
                kept["overrides"] = [without_secrets(setting) for setting in overrides]
            client.update_flow_run(UUID(own), tags=sorted(tags), parameters=kept)
        unfinished = FlowRunFilter(
            tags=Tags(all_=[here]), state=FlowRunFilterState(type=StateType(any_=_UNFINISHED))
        )
        for run in client.read_flow_runs(flow_run_filter=unfinished):
            processes = [tag.removeprefix(_PROCESS) for tag in run.tags if tag.startswith(_PROCESS)]
            if not processes or any(find_process(name) for name in processes):
                continue
            dead: State[None] = Crashed(message="Its process was killed.")
            its_own = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
            for task in client.read_task_runs(flow_run_filter=its_own):
                if task.state and not task.state.is_final():
                    client.set_task_run_state(task.id, dead, force=True)
            client.set_flow_run_state(run.id, dead, force=True)


class StageProgress:
    """A stage's progress bar as an artifact of its task run, which the server shows and keeps."""

    def __init__(self, stage: str) -> None:
        self._key = artifact_key(f"{stage}-progress")
        self._artifact: UUID | None = None
        self._told = (-1.0, -UPDATE_SECONDS)

    def bar(self, text: str) -> None:
        """Tell what a bar shows, if it shows a percentage and the last was told long enough ago."""
        if (match := _PERCENT.search(text)) and time.monotonic() - self._told[1] >= UPDATE_SECONDS:
            self._tell(min(float(match.group(1)), 100.0), text)

    def end(self) -> None:
        """All is done: what was told last need not have been the end."""
        if self._artifact and self._told[0] < 100:
            self._tell(100.0, "done")

    def _tell(self, percent: float, text: str) -> None:
        self._told = (percent, time.monotonic())
        # A server that is busy for a moment must not end a stage.
        with contextlib.suppress(Exception):
            if self._artifact is None:
                made = create_progress_artifact(percent, self._key, text)
                self._artifact = cast(UUID, made)
            else:
                update_progress_artifact(self._artifact, percent, text)
