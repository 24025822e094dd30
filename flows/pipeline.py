"""The pipeline as a Prefect flow: `python -m flows.pipeline [STAGE…]`.

DVC's graph is the pipeline; the flow runs each of its stages as a task and knows nothing of what
they do.
"""

import argparse
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.futures import PrefectFuture, as_completed
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows.console import Console
from flows.server import claim_run, run_name
from flows.summary import (
    accuracy_rows,
    as_markdown,
    as_text,
    read_evaluation,
    stage_rows,
    where_to_look,
)
from flows.tasks import Outcome, Runner, StageFailed, run_stage
from parrot.credentials import hide_in_tracebacks, split_address
from parrot.errors import ParrotError
from parrot.pipeline.data_versions import work_without_git
from parrot.pipeline.graph import GraphStage, display_name, read_graph, ready, remaining_minutes
from parrot.pipeline.processes import guard_descendants, pipeline_lock
from parrot.tracking import log_states, track_pipeline
from parrot.tracking.runs import TrackedRun

LOCK_FILE = Path(".dvc/tmp/parrot.lock")
_REPORT_SECONDS = 30.0


# Threads for as many stages as could ever be ready at once; `parallel` decides how many are started.
@flow(name="parrot", flow_run_name=run_name, task_runner=ThreadPoolTaskRunner(max_workers=8))  # type: ignore[arg-type]
def pipeline(targets: list[str] | None = None, parallel: Annotated[int, Field(ge=1)] = 1) -> None:
    """Bring `targets` (by default everything) up to date.

    Args:
        targets: Names of the stages to bring up to date, such as sft, prepare@captions or prepare, each
            with all that it needs; none: all that the project needs.
        parallel: How many stages may run at a time. One, where each uses all cores; two, where there is
            a GPU for each backbone.

    Raises:
        ParrotError: another run holds the lock, a target is unknown, a lock of DVC is damaged, MLflow's
            store cannot be used.
        StageFailed: a stage failed; those that need it have not run.
    """
    guard_descendants()
    claim_run()
    with pipeline_lock(LOCK_FILE):
        work_without_git()
        runner = Runner(Console())
        stages = read_graph(targets or (), runner.console.line)
        runner.outcomes = {name: Outcome() for name in stages}
        with _tracking(stages) as tracked:
            try:
                _run_all(stages, runner, parallel)
            except BaseException:
                runner.stop()
                raise
            finally:
                evaluation = _evaluation(runner.outcomes)
                tables = [stage_rows(runner.outcomes), accuracy_rows(evaluation)]
                if not runner.stopping:
                    create_markdown_artifact(as_markdown(tables), key="parrot-summary")
                if tracked:
                    states = {name: outcome.state for name, outcome in runner.outcomes.items()}
                    log_states(tracked, states)
                _print_end(runner.console, tables, tracked)


def _tracking(stages: Mapping[str, GraphStage]) -> AbstractContextManager[TrackedRun | None]:
    """Where all is up to date there is nothing to tell MLflow."""
    return track_pipeline() if any(stage.minutes for stage in stages.values()) else nullcontext()


def _evaluation(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """The metrics of evaluate if they are this state's, and not those of an earlier one."""
    up_to_date = outcomes.get("evaluate", Outcome()).state in ("done", "cached", "restored")
    return read_evaluation() if up_to_date else {}


def _run_all(stages: Mapping[str, GraphStage], runner: Runner, parallel: int) -> None:
    """Run every stage once those that it needs are done; after a failure, start no more."""
    progress = Progress(stages, runner, parallel)
    waiting, done = list(stages), dict[str, PrefectFuture[Any]]()
    running: dict[str, PrefectFuture[Any]] = {}
    failures: list[StageFailed] = []
    while running or (waiting and not failures):
        startable = [] if failures else ready(stages, waiting, done)
        for name in startable[: parallel - len(running)]:
            waiting.remove(name)
            progress.start(name)
            shown = display_name(name)
            named = run_stage.with_options(name=shown, task_run_name=shown)
            needs = [done[need] for need in stages[name].needs]
            running[name] = named.submit(runner=runner, stage=name, return_state=False, wait_for=needs)
        try:
            finished = next(as_completed(list(running.values()), timeout=_REPORT_SECONDS))
        except TimeoutError:
            progress.report()
            continue
        name = next(name for name, future in running.items() if future is finished)
        done[name] = running.pop(name)
        progress.end(name)
        result = finished.result(raise_on_failure=False)
        if isinstance(result, StageFailed):
            failures.append(result)
        elif isinstance(result, Exception):
            failures.append(StageFailed(display_name(name), repr(result)))
    if failures:
        raise failures[0]


class Progress:
    """Says how far the pipeline is and, by the pace so far, about how long it still takes."""

    def __init__(self, stages: Mapping[str, GraphStage], runner: Runner, parallel: int) -> None:
        self._stages = stages
        self._parallel = parallel
        self._console = runner.console
        self._outcomes = runner.outcomes
        self._began: dict[str, float] = {}
        """Those now running, and when each was started."""
        self._done: set[str] = set()

    def start(self, name: str) -> None:
        self._began[name] = time.monotonic()
        self._console.stages.add(display_name(name))
        started = len(self._done) + len(self._began)
        self._say(f"{display_name(name)} ({started} of {len(self._stages)})")

    def end(self, name: str) -> None:
        del self._began[name]
        self._console.stages.discard(display_name(name))
        self._done.add(name)
        outcome = self._outcomes[name]
        took = "" if outcome.state == "cached" else f" after {outcome.seconds:.0f} s"
        self._say(f"{display_name(name)}: {outcome.state}{took}")

    def report(self) -> None:
        self._say(", ".join(sorted(self._console.stages)) + " running")

    def _say(self, what: str) -> None:
        total = sum(stage.minutes for stage in self._stages.values())
        pace = self._pace()
        now = time.monotonic()
        running = {name: (now - began) / 60 for name, began in self._began.items()}
        left = remaining_minutes(self._stages, self._done, running, parallel=self._parallel, pace=pace)
        behind = sum(self._stages[name].minutes for name in self._done) + sum(
            min(minutes / pace, self._stages[name].minutes) for name, minutes in running.items()
        )
        share = f"{behind / total:.0%}" if total else "100%"
        self._console.line(f"━━ {what} · {share} of the pipeline done, {_duration(left)}")

    def _pace(self) -> float:
        """Minutes taken for each minute that was expected, of the stages that have really run."""
        ran = [name for name in self._done if self._outcomes[name].state == "done"]
        expected = sum(self._stages[name].minutes for name in ran)
        taken = sum(self._outcomes[name].seconds for name in ran) / 60
        # One imagined minute at the expected pace keeps the first short stages from deciding all.
        return (taken + 1) / (expected + 1)


def _duration(minutes: float) -> str:
    if minutes * 60 < 5:
        return "seconds left"
    if minutes < 1.5:
        return f"about {5 * round(minutes * 12)} s left"
    return f"about {minutes:.0f} min left"


def _print_end(console: Console, tables: list[list[list[str]]], tracked: TrackedRun | None) -> None:
    for rows in filter(None, tables):
        console.line("")
        console.line(as_text(rows))
    if lines := where_to_look(tracked):
        console.line("\nWhere to look next\n" + "\n".join(lines))


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
    parser.add_argument("targets", nargs="*", metavar="STAGE", help="and what it needs (default: all)")
    parser.add_argument(
        "--parallel", type=_positive, default=1, metavar="N", help="stages at a time (default: 1)"
    )
    args = parser.parse_args(arguments)
    hide_in_tracebacks()
    try:
        _check_prefect()
        guard_descendants()  # Prefect's own server among them
        if not PREFECT_API_URL.value():
            print("parrot: starting Prefect's own server (some seconds; more the first time)", flush=True)
        pipeline(args.targets, args.parallel)
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
    except KeyboardInterrupt:
        print("parrot: stopped; start again to go on from the last finished stage", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
