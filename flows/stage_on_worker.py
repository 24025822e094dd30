"""One stage as a flow run of its own, on a worker with its own clone. See docs/pipeline.md."""

import os
import socket
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Crashed, Failed

from flows.cancellation import cancellable
from flows.console import console
from flows.leases import gpus_held
from flows.reproduce import LOCK_FILE, StageFailed, reproduce, stop_all, travel
from flows.server import StageProgress, claim_run, wait_for_server
from flows.tasks import ended
from parrot.errors import ParrotError
from parrot.pipeline.commits import check_out
from parrot.pipeline.graph import GraphStage, display_name
from parrot.pipeline.processes import file_lock, guard_descendants, pipeline_lock
from parrot.pipeline.travel import WORKER_VARIABLE
from parrot.tracking import PARENT_VARIABLE

CLONE_VARIABLE = "PARROT_CLONE"
_QUEUE = Path(".dvc/tmp/worker.lock")
"""Stages that are sent to one worker together run one after the other: a clone has one state."""


def enter_clone() -> dict[str, str]:
    """The step of prefect.yaml before each run: a worker works in its own clone.

    That is the one that its Python has this project from, unless PARROT_CLONE names another.
    """
    folder = os.environ.get(CLONE_VARIABLE) or Path(__file__).parents[1]
    os.chdir(folder)
    return {"directory": str(folder)}


@flow(name="stage", flow_run_name="{stage}")
def run_on_worker(
    stage: str,
    commit: str,
    files: dict[str, str] | None = None,
    force: bool = False,
    timeout_minutes: float | None = None,
    parent: str | None = None,
) -> State[Any]:
    """Check out a commit, pull what the stage reads, run it, push what it made. The pipeline starts this.

    Args:
        stage: The address of the stage in dvc.yaml, such as sft.
        commit: The commit of the clone that runs the pipeline; a remote of this clone must have it.
        files: Path and text of parameters, locks and .dvc files that the commit has otherwise.
        force: Whether to run the stage even if the DVC remote has outputs of the same inputs.
        timeout_minutes: After how many minutes the stage is ended; none: it may take as long as it likes.
        parent: The pipeline's run in MLflow, of which the stage's run is to be a child.
    """
    guard_descendants()
    wait_for_server()
    claim_run()
    os.environ[WORKER_VARIABLE] = socket.gethostname()
    if parent:
        os.environ[PARENT_VARIABLE] = parent
    log = get_run_logger().info
    what = GraphStage(stage, frozenset(), 0.0, timeout_minutes=timeout_minutes)
    progress = StageProgress(display_name(stage))
    try:
        with cancellable(), file_lock(_QUEUE), gpus_held(), pipeline_lock(LOCK_FILE):
            check_out(commit, files or {})
            travel("receive", what, log, *(["anew"] if force else []))
            outcome = reproduce(what, log, progress.bar, force=force, pull=True)
            made = travel("give", what, log)
    except StageFailed as error:
        console.line(str(error))
        return (Crashed if error.passing else Failed)(message=_reason(error, stage))
    except ParrotError as error:
        return Failed(message=str(error))
    except BaseException:
        stop_all()
        raise
    progress.end()
    return ended(outcome, made)


def _reason(error: StageFailed, stage: str) -> str:
    return str(error).removeprefix(f"{display_name(stage)}: ")
