"""A stage of dvc.yaml as a Prefect task: in place, or on a worker of the work pool that it names."""

import os
import time
from typing import Any, cast
from uuid import UUID

import httpx
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import task_run
from prefect.states import Cancelling, Completed
from prefect.utilities.urls import url_for

from flows.console import Tell, console
from flows.reproduce import Outcome, StageFailed, reproduce, stopping, travel
from flows.server import StageProgress, impatient_client, wait_for_server
from flows.shown import show_results
from parrot.pipeline.commits import changed_by_runs
from parrot.pipeline.graph import GraphStage, display_name
from parrot.tracking import PARENT_VARIABLE

_LOOK_SECONDS = 2.0
"""Between two looks at how a stage is doing on a worker."""


_DEPLOYMENT = "stage/stage"


def has_workers(pool: str) -> bool:
    """Whether stages can be sent to the pool: the server that a command starts for itself has none."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(_DEPLOYMENT).work_pool_name == pool
        except ObjectNotFound:
            return False


def _may_retry(_task: Any, _run: Any, state: State[Any]) -> bool:
    return isinstance(state.data, StageFailed) and state.data.passing


# DVC is the cache.
@task(retries=1, retry_delay_seconds=1, retry_condition_fn=_may_retry, cache_policy=NO_CACHE)
def run_stage(stage: GraphStage, commit: str | None = None, force: bool = False) -> State[Outcome]:
    """Bring one stage up to date.

    Args:
        commit: what a worker is to check out; None: the stage runs in place.
        force: run it even if nothing has changed.
    """
    logger = get_run_logger()
    if commit is not None:
        outcome = _on_worker(stage, commit, force, logger.info)
    else:
        progress = StageProgress(display_name(stage.name))
        outcome = reproduce(stage, logger.info, progress.bar, force=force)
        progress.end()
    if outcome.state != "cached":
        try:
            show_results(stage)
        except Exception as error:  # what is done is done, also if the server or a file of numbers is broken
            logger.warning("its metrics and plots are not shown: %s", error)
    return ended(outcome)


def ended(outcome: Outcome, made: str = "") -> State[Outcome]:
    """The state of a stage's run; on a worker its last word names what the pipeline is to take."""
    message = f"{outcome.state}, {outcome.seconds:.0f} s {made}".rstrip()
    return Completed(name=outcome.state.capitalize(), message=message, data=outcome)


def _on_worker(stage: GraphStage, commit: str, force: bool, log: Tell) -> Outcome:
    """Send the stage's inputs, wait until a worker has run it, and put in place what it gives back."""
    began = time.monotonic()
    shown = display_name(stage.name)
    travel("send", stage, log)
    wait_for_server()
    begun = run_deployment(
        _DEPLOYMENT,
        parameters={
            "stage": stage.name, "commit": commit, "files": changed_by_runs(), "force": force,
            "timeout_minutes": stage.timeout_minutes, "parent": os.environ.get(PARENT_VARIABLE),
        },
        flow_run_name=shown,
        timeout=0,
        idempotency_key=f"{task_run.id}-{task_run.run_count}",  # a client that hears nothing asks again
    )  # fmt: skip
    run = cast(FlowRun, begun)
    console.line(f"{shown} waits for a worker of the pool '{stage.worker}': {url_for(run)}", shown)
    state = _wait(run.id, shown)
    if not state.is_completed():
        passing = state.is_crashed() and not stopping.is_set()
        raise StageFailed(shown, state.message or f"is {state.name} on its worker", passing=passing)
    travel("take", stage, log, (state.message or "nothing").split()[-1])
    return Outcome((state.name or "done").lower(), time.monotonic() - began)


def _wait(run: UUID, shown: str) -> State[Any]:
    """The final state of a stage's run on a worker; one that is given up here is cancelled there."""
    with impatient_client() as client:
        begun = False
        while True:
            stopping.wait(_LOOK_SECONDS)
            try:
                state = client.read_flow_run(run).state
                assert state
                if state.is_final():
                    return state
                if stopping.is_set():
                    client.set_flow_run_state(run, Cancelling(message="The pipeline run has ended."))
                    return state
            except httpx.HTTPError as error:
                if isinstance(error, httpx.HTTPStatusError) and not error.response.is_server_error:
                    raise
                if stopping.is_set():
                    reason = "the server is away and its worker goes on; cancel the stage's run there"
                    raise StageFailed(shown, reason) from None
                continue  # the server or its database is away for a while, and the worker goes on
            if state.is_running() and not begun:
                begun = True
                console.line(f"{shown} has begun on a worker", shown)
