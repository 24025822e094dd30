"""A server, a clone that runs the pipeline, workers in clones of their own: all as a team has it."""

import http.server
import json
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from process_end import ended
from team import FILES, ROOT, Team, wait_for

pytestmark = pytest.mark.slow
PIPELINE = (sys.executable, "-m", "flows.pipeline", "--no-publish")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    made = Team(tmp_path_factory.mktemp("team"))
    made.make_clone(FILES)
    made.share()
    server = made.serve()
    made.add_worker("gpu", "one")
    made.add_worker("local", "here")
    try:
        yield made
    finally:
        made.stop(*made.workers, server)


@pytest.fixture
def hold(team: Team) -> Iterator[Callable[[], psutil.Process]]:
    """Lets the training hang; gives the process that hangs."""
    pid = team.hold.with_name(f"{team.hold.name}.pid")
    pid.unlink(missing_ok=True)
    team.hold.touch()

    def hanging() -> psutil.Process:
        text = wait_for(lambda: pid.exists() and pid.read_text().strip(), 180, "no worker trains")
        return psutil.Process(int(text))

    yield hanging
    team.hold.unlink(missing_ok=True)


def set_rate(team: Team, rate: int) -> None:
    (team.clone / "toy/params.yaml").write_text(f"rate: {rate}\n")


def stage_runs(team: Team) -> list[Any]:
    return [run for run in team.runs() if run.name == "train"]


def cancel(team: Team, run: UUID) -> None:
    """What the button in the UI does."""
    with temporary_settings({PREFECT_API_URL: team.api}), team.client() as client:
        client.set_flow_run_state(run, Cancelling())


def test_a_stage_is_run_in_a_workers_clone_and_comes_back_whole(team: Team) -> None:
    team.run(*PIPELINE)
    assert team.trained.read_text().split() == [str(team.folder / "one")]
    assert (team.clone / "model").read_text() == "first\n"
    assert json.loads((team.clone / "metrics.json").read_text()) == {"loss": 1}, "git's, and not DVC's"
    (run,) = stage_runs(team)
    assert run.state.name == "Done"
    wait_for(lambda: f"trains at {team.folder / 'one'}" in team.log_of(run.id), 30, "its words are not shown")
    assert "Data and pipelines are up to date" in team.run("dvc", "status")
    # A parameter needs no commit; what was made once is not made again.
    set_rate(team, 2)
    team.run(*PIPELINE)
    assert len(stage_runs(team)) == 2
    set_rate(team, 1)
    team.run(*PIPELINE)
    assert stage_runs(team)[0].state.name == "Restored"
    assert len(team.trained.read_text().split()) == 2


def test_code_that_no_commit_has_is_named_before_anything_runs(team: Team) -> None:
    script = team.clone / "train.sh"
    before = script.read_text()
    script.write_text(before + "\n# more\n")
    trained = team.trained.read_text()
    try:
        with pytest.raises(AssertionError, match=r"a worker needs a commit, and train\.sh has changes"):
            team.run(*PIPELINE)
    finally:
        script.write_text(before)
    assert team.trained.read_text() == trained


def test_cancelled_in_the_form_the_stage_ends_on_its_worker(
    team: Team, hold: Callable[[], psutil.Process]
) -> None:
    set_rate(team, 3)
    run = team.submit("parrot/manual", "publish=false")
    hanging = hold()
    began = time.monotonic()
    cancel(team, run)
    assert ended([hanging], 20 - (time.monotonic() - began))
    wait_for(lambda: team.state(run).name == "Cancelled", 60, "the run is not cancelled")
    wait_for(lambda: stage_runs(team)[0].state.name == "Cancelled", 60, "the stage is not cancelled")


def test_when_a_worker_is_killed_another_takes_its_stage_over(
    team: Team, hold: Callable[[], psutil.Process]
) -> None:
    team.run(sys.executable, str(ROOT / "deploy/automations.py"))
    set_rate(team, 4)
    run = team.submit("parrot/manual", "publish=false")
    hanging = hold()
    team.hold.unlink()
    team.add_worker("gpu", "two")
    worker = team.workers[0]
    for process in [worker, *psutil.Process(worker.pid).children(recursive=True), hanging]:
        process.send_signal(signal.SIGKILL)  # the machine is gone
    wait_for(lambda: team.state(run).is_final(), 400, "nobody takes over")
    assert team.state(run).name == "Completed"
    assert team.trained.read_text().split()[-1] == str(team.folder / "two")
    assert [run.state.name for run in stage_runs(team)[:2]] == ["Done", "Crashed"]


def test_data_that_are_refused_reach_no_worker_and_somebody_is_told(team: Team) -> None:
    told: queue.Queue[dict[str, str]] = queue.Queue()

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    team.run(
        sys.executable,
        str(ROOT / "deploy/automations.py"),
        "--webhook",
        f"http://127.0.0.1:{hook.server_port}/",
    )
    runs = len(stage_runs(team))
    (team.clone / "source").write_text("bad\n")
    try:
        with pytest.raises(AssertionError, match="validate: prepared: bad"):
            team.run(*PIPELINE)
        assert told.get(timeout=60) == {"text": "validate refused the data: validate: prepared: bad"}
    finally:
        (team.clone / "source").write_text("first\n")
        hook.shutdown()
    assert len(stage_runs(team)) == runs
