"""The pipeline as a Prefect flow: `python -m flows.pipeline [STAGE…]`.

DVC's graph is the pipeline; the flow runs each of its stages as a task and knows nothing of what
they do. See docs/pipeline.md.
"""

import argparse
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.exceptions import Abort
from prefect.futures import PrefectFuture, as_completed
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows.cancellation import cancellable
from flows.console import console
from flows.leases import slot_held
from flows.needed import (
    PACKAGE,
    is_released,
    note_release,
    note_run,
    nothing_to_do,
    update_data,
    why_too_old,
)
from flows.parameters import chosen_params
from flows.progress import Progress
from flows.release_task import release_and_tell
from flows.reproduce import LOCK_FILE, UP_TO_DATE, Outcome, StageFailed, stop_all, stopping
from flows.server import claim_run, run_name, start_own_server, wait_for_server
from flows.summary import (
    accuracy_rows,
    as_markdown,
    as_text,
    read_evaluation,
    release_rows,
    stage_rows,
    where_to_look,
)
from flows.tasks import has_workers, run_stage
from parrot.credentials import hide_in_tracebacks, split_address, without_secrets
from parrot.errors import ParrotError
from parrot.pipeline.commits import committed
from parrot.pipeline.data_versions import work_without_git
from parrot.pipeline.graph import GraphStage, display_name, read_by, read_graph, ready
from parrot.pipeline.processes import guard_descendants, pipeline_lock
from parrot.tracking import log_states, track_pipeline

_REPORT_SECONDS = 30.0


# Threads for as many stages as could ever be ready at once; `parallel` decides how many are started.
@flow(name="parrot", flow_run_name=run_name, task_runner=ThreadPoolTaskRunner(max_workers=8))  # type: ignore[arg-type]
def pipeline(
    stages: list[str] | None = None,
    alone: bool = False,
    parallel: Annotated[int, Field(ge=1)] = 1,
    profile: str | None = None,
    overrides: list[str] | None = None,
    force: bool = False,
    publish: bool = True,
    new_data: bool = False,
    max_age_days: float | None = None,
) -> State[str]:
    """Bring `stages` (by default everything) up to date, and release the package if it is another one.

    Args:
        stages: Names of the stages to bring up to date, such as sft, prepare@captions or prepare, each
            with all that it needs; none: all that the project needs.
        alone: Leave out what these stages need, and take it as it is: nothing is trained for an evaluation.
        parallel: How many stages may run at a time. One, where each uses all cores; two, where there is
            a GPU for each backbone.
        profile: A profile of conf/, such as demo or parrot-7b, for this run only; none: params.yaml as it is.
        overrides: Values of params.yaml for this run only, each written as sft.learning_rate=0.001.
        force: Run every one of these stages, also those that are up to date.
        publish: Let the gate judge a package that it has not judged yet, and publish it if it is better.
        new_data: Look first whether imported data (dvc import-url) have changed where they come from.
        max_age_days: Run every stage if the last run is longer ago than this; none: age does not matter.

    Raises:
        ParrotError: another run holds the lock, a stage or a parameter is unknown, a lock of DVC is
            damaged, MLflow's store cannot be used, a worker lacks a commit.
        StageFailed: a stage failed; those that need it have not run.
    """
    guard_descendants()
    claim_run()
    with cancellable(), slot_held(), pipeline_lock(LOCK_FILE), chosen_params(profile, overrides or []):
        work_without_git()
        for file in update_data() if new_data else []:
            console.line(f"{file}: new data")
        anyway = "asked for" if force else why_too_old(max_age_days)
        graph = read_graph(stages or (), console.line, alone=alone, anyway=anyway)
        said = _run_and_tell(graph, parallel, force=bool(anyway), publish=publish)
    return Completed(message=said, data=said)


def _run_and_tell(graph: Mapping[str, GraphStage], parallel: int, *, force: bool, publish: bool) -> str:
    """Run what has to run, release the package, show how it ended: a sentence about what was done."""
    outcomes = {name: Outcome("not run" if stage.why else "cached") for name, stage in graph.items()}
    to_do = [name for name, stage in graph.items() if stage.why]
    said = f"{len(to_do)} of {len(graph)} stages were brought up to date" if to_do else nothing_to_do()
    if not to_do:
        console.line(said)
    release = None
    with track_pipeline() if to_do else nullcontext() as tracked:  # nothing to do, nothing to tell MLflow
        try:
            _run_all(graph, outcomes, parallel, force)
            if to_do:
                note_run()
            if publish and outcomes.get(PACKAGE, Outcome()).state in UP_TO_DATE and not is_released():
                wait_for_server()
                release = release_and_tell()
                if release.waits_at is None:  # else the next run finishes it
                    note_release()
        except ParrotError:
            raise
        except BaseException:
            stop_all()
            raise
        finally:
            tables = [stage_rows(outcomes), accuracy_rows(read_evaluation(outcomes)), release_rows(release)]
            lines = where_to_look(tracked)
            if not stopping.is_set():
                try:
                    wait_for_server()
                    create_markdown_artifact(as_markdown(tables, lines), key="parrot-summary")
                except Exception as error:  # must not hide why a stage has failed
                    console.line(without_secrets(f"the server does not take the summary: {error}"))
            if tracked:
                log_states(tracked, {name: outcome.state for name, outcome in outcomes.items()})
            for rows in filter(None, tables):
                console.line(f"\n{as_text(rows)}")
            if lines:
                console.line("\nWhere to look next\n" + "\n".join(lines))
    return f"{said}; {release.verdict.decision}" if release else said


def _run_all(
    graph: Mapping[str, GraphStage], outcomes: dict[str, Outcome], parallel: int, force: bool
) -> None:
    """Run every stage once those that it needs are done; after a failure, start no more."""
    commits = _commits(graph)
    progress = Progress(graph, outcomes, parallel)
    waiting = [name for name, stage in graph.items() if stage.why]
    done = {name for name in graph if name not in waiting}
    running: dict[str, PrefectFuture[Any]] = {}
    failures: list[StageFailed] = []
    while running or (waiting and not failures):
        startable = [] if failures else ready(graph, waiting, done)
        for name in startable[: parallel - len(running)]:
            waiting.remove(name)
            progress.start(name)
            shown = display_name(name)
            named = run_stage.with_options(name=shown, task_run_name=shown)
            running[name] = named.submit(graph[name], commits.get(name), force, return_state=False)
        try:
            finished = next(as_completed(list(running.values()), timeout=_REPORT_SECONDS))
        except TimeoutError:
            progress.report()
            continue
        name = next(name for name, future in running.items() if future is finished)
        del running[name]
        done.add(name)
        result = finished.result(raise_on_failure=False)
        if not isinstance(result, Outcome):
            failures.append(_failed(name, result))
            result = Outcome("failed", progress.seconds(name))
        outcomes[name] = result
        progress.end(name)
    if failures:
        raise failures[0]


def _commits(graph: Mapping[str, GraphStage]) -> dict[str, str]:
    """For each stage that has to run and that workers run, the commit that they are to check out."""
    sent = {name: stage for name, stage in graph.items() if stage.why and stage.worker}
    pools = {pool for pool in {stage.worker for stage in sent.values()} if has_workers(pool)}
    reads = {name: read_by(name) for name, stage in sent.items() if stage.worker in pools}
    return {name: committed(display_name(name), [*it.code, *it.inputs]) for name, it in reads.items()}


def _failed(name: str, result: Any) -> StageFailed:
    """Tell whoever has subscribed to it (docs/operations.md), in the words of the stage."""
    shown = display_name(name)
    failure = result if isinstance(result, StageFailed) else StageFailed(shown, repr(result))
    resource = {"prefect.resource.id": f"parrot.stage.{shown}", "prefect.resource.name": shown}
    emit_event("parrot.stage-failed", resource, payload={"reason": str(failure)})
    return failure


def _check_prefect() -> None:
    """Raise a ParrotError if PREFECT_API_URL names a server that does not answer."""
    uri = os.environ.get("PREFECT_API_URL")
    if not uri:
        return
    address = split_address(uri).uri.rstrip("/")
    try:
        urllib.request.urlopen(f"{address}/health", timeout=5).close()
    except urllib.error.HTTPError:
        pass
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ParrotError(
            f"PREFECT_API_URL: no Prefect server answers at {address} ({getattr(error, 'reason', error)}); "
            "start it with `prefect server start`, or unset the variable"
        ) from None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of stages; it must be 1 or more")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.pipeline", description="Bring the pipeline, or some of its stages, up to date."
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="and what it needs (default: all)")
    parser.add_argument(
        "--parallel", type=_positive, default=1, metavar="N", help="stages at a time (default: 1)"
    )
    parser.add_argument("--force", action="store_true", help="run also what is up to date")
    parser.add_argument(
        "--no-publish", dest="publish", action="store_false", help="end when the package is made"
    )
    args = parser.parse_args(arguments)
    hide_in_tracebacks()
    try:
        _check_prefect()
        guard_descendants()  # Prefect's own server among them
        if not PREFECT_API_URL.value():
            print("parrot: starting Prefect's own server (some seconds; more the first time)", flush=True)
            start_own_server()
        pipeline(**vars(args))
    except ParrotError as error:
        print(f"parrot: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if "ephemeral Prefect API server" not in str(error):
            raise
        print(
            "parrot: Prefect's own server does not start; `prefect server start` shows why, "
            "and with .prefect/ moved away it begins anew", file=sys.stderr,
        )  # fmt: skip
        return 1
    except (KeyboardInterrupt, Abort):
        print("parrot: stopped; start again to go on from the last finished stage", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
