"""A server, a clone that runs the pipeline, workers in clones of their own: all as a team has it."""

import http.server
import json
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from process_end import ended
from team import FILES, GPU, ROOT, Team, wait_for

from flows.leases import LEASE_SECONDS

pytestmark = pytest.mark.slow
PIPELINE = (sys.executable, "-m", "flows.pipeline", "--no-publish")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with Team(tmp_path_factory.mktemp("team")) as made:
        made.more = {"CUDA_VISIBLE_DEVICES": GPU}
        made.make_clone(FILES)
        made.share()
        made.serve_and_work("one")
        yield made


def test_a_stage_is_run_in_a_workers_clone_and_comes_back_whole(team: Team) -> None:
    team.run(*PIPELINE)
    assert team.trained.read_text().split() == [str(team.folder / "one")]
    assert (team.clone / "model").read_text() == "first\n"
    assert json.loads((team.clone / "metrics.json").read_text()) == {"loss": 1}, "git's, and not DVC's"
    (run,) = team.stage_runs()
    assert run.state.name == "Done"
    wait_for(
        lambda: f"trains at {team.folder / 'one'}" in team.log_of(run.id), 120, "its words are not shown"
    )
    assert "Data and pipelines are up to date" in team.run("dvc", "status")
    # A parameter needs no commit; what was made once is not made again.
    team.set_rate(2)
    team.run(*PIPELINE)
    assert len(team.stage_runs()) == 2
    team.set_rate(1)
    team.run(*PIPELINE)
    assert team.stage_runs()[0].state.name == "Restored"
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


@pytest.mark.parametrize("stage", ["prepare", "validate", "train", "package"])
def test_cancelled_in_the_form_the_stage_ends_and_the_next_run_makes_up_for_it(
    team: Team, stage: str
) -> None:
    team.run(*PIPELINE)
    with team.held_at(stage) as held:
        run = team.submit("parrot/manual", "publish=false", "force=true", "alone=true", f'stages=["{stage}"]')
        hanging = held()
    began = time.monotonic()
    team.cancel(run)
    assert ended([hanging], 20 - (time.monotonic() - began))
    wait_for(lambda: team.state(run).name == "Cancelled", 300, "the run is not cancelled")
    if stage == "train":
        wait_for(lambda: team.stage_runs()[0].state.name == "Cancelled", 300, "the stage is not cancelled")
    team.run(*PIPELINE)
    assert "Data and pipelines are up to date" in team.run("dvc", "status")
    assert (team.clone / "packaged").read_text() == "first\n"


@pytest.mark.parametrize("stage", ["prepare", "train"])
def test_cancel_is_heard_after_the_server_was_away(team: Team, stage: str) -> None:
    """In place and on a worker. Away for 45 seconds, after which Prefect's workers no longer listen."""
    team.run(*PIPELINE)
    with team.held_at(stage) as held:
        run = team.submit("parrot/manual", "publish=false", "force=true", "alone=true", f'stages=["{stage}"]')
        hanging = held()
    team.stop("server")
    time.sleep(45)
    team.start_server()
    assert hanging.is_running()
    began = time.monotonic()
    team.cancel(run)
    assert ended([hanging], 20 - (time.monotonic() - began))
    wait_for(lambda: team.state(run).is_final(), 300, "the run does not end")
    assert team.state(run).name == "Cancelled"
    if stage == "train":
        wait_for(lambda: team.stage_runs()[0].state.name == "Cancelled", 300, "the stage is not cancelled")
    team.run(*PIPELINE)
    assert "Data and pipelines are up to date" in team.run("dvc", "status")


@pytest.mark.parametrize("moment", ["train", "half", "made"])
def test_when_a_worker_is_killed_another_takes_its_stage_over(team: Team, moment: str) -> None:
    """Before it has made anything, in the middle, and with everything made and nothing given back."""
    team.run(sys.executable, str(ROOT / "deploy/automations.py"))
    (name,) = team.processes.keys() - {"here", "server"}
    team.run(*PIPELINE)
    before = len(team.stage_runs())
    with team.held_at(moment) as held:
        run = team.submit("parrot/manual", "publish=false", "force=true", 'stages=["train"]', "alone=true")
        hanging = held()
    team.add_worker("gpu", f"after-{moment}")
    worker = team.processes.pop(name)
    for process in [worker, *psutil.Process(worker.pid).children(recursive=True), hanging]:
        process.send_signal(signal.SIGKILL)  # the machine is gone
    wait_for(lambda: team.gpus_in_use() == 0, LEASE_SECONDS + 30, "its GPU stays taken")
    wait_for(lambda: team.state(run).is_final(), 900, "nobody takes over")
    assert team.state(run).name == "Completed"
    assert team.trained.read_text().split()[-1] == str(team.folder / f"after-{moment}")
    assert (team.clone / "model").read_text() == "first\n"
    made = team.stage_runs()
    assert [run.state.name for run in made[: len(made) - before]] == ["Done", "Crashed"]


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
    runs = len(team.stage_runs())
    (team.clone / "source").write_text("bad\n")
    try:
        with pytest.raises(AssertionError, match="validate: prepared: bad"):
            team.run(*PIPELINE)
        assert told.get(timeout=300) == {"text": "validate refused the data: validate: prepared: bad"}
    finally:
        (team.clone / "source").write_text("first\n")
        hook.shutdown()
    assert len(team.stage_runs()) == runs
