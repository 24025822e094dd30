"""What Prefect's server can show of a run, asked through its API."""

import ctypes
import os
import re
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL
from prefect.states import Running

from flows import server
from flows.pipeline import main, pipeline
from flows.server import StageProgress
from parrot.pipeline.processes import identity

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("servers")
TALKING = (
    "talking: {cmd: \"echo a line of the stage; printf '\\\\r  5%%|x | 1/20\\\\r 60%%|xx| 12/20\\\\n' >&2; "
    'cp source talking", deps: [source], outs: [talking]}'
)


def newest_run() -> Any:
    """The last run that this process has begun."""
    own = filters.FlowRunFilter(tags=filters.FlowRunFilterTags(all_=[f"process:{identity()}"]))
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(flow_run_filter=own, sort=FlowRunSort.START_TIME_DESC, limit=1)
        return run


def tasks_of(run: Any) -> list[Any]:
    chosen = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run.id]))
    with get_client(sync_client=True) as client:
        return client.read_task_runs(flow_run_filter=chosen)


def test_a_stages_lines_and_bar_are_shown_with_its_task(project) -> None:
    project(TALKING)
    assert main([]) == 0
    run = newest_run()
    (task,) = tasks_of(run)
    assert task.name == "talking"
    how_the_bar_ended = " 60%|xx| 12/20"
    with get_client(sync_client=True) as client:
        chosen = filters.LogFilter(task_run_id=filters.LogFilterTaskRunId(any_=[task.id]))
        deadline = time.monotonic() + 60
        lines: list[str] = []
        while not {"a line of the stage", how_the_bar_ended} <= set(lines):
            assert time.monotonic() < deadline, lines
            time.sleep(0.2)
            lines = [log.message for log in client.read_logs(chosen)]
        of_task = filters.ArtifactFilter(task_run_id=filters.ArtifactFilterTaskRunId(any_=[task.id]))
        (artifact,) = client.read_artifacts(artifact_filter=of_task)
    assert "  5%|x | 1/20" not in lines, "where it was on the way"
    assert not any("lock file" in line for line in lines), "DVC's advice"
    assert (artifact.key, artifact.type, artifact.data) == ("talking-progress", "progress", 100)


def test_progress_is_told_now_and_then_and_a_failing_server_is_no_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[float] = []
    now = [100.0]
    monkeypatch.setattr("flows.server.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "flows.server.create_progress_artifact", lambda progress, *_: told.append(progress) or 1
    )
    monkeypatch.setattr(
        "flows.server.update_progress_artifact", lambda _id, progress, _: told.append(progress)
    )
    progress = StageProgress("sft")
    for percent in range(100):
        now[0] += 0.5
        progress.bar(f"{percent:3}%|██ | {percent}/100")
        progress.bar("Building workspace index |0.00 [00:00, ?entry/s]")
    progress.end()
    assert told == [*range(0, 100, 10), 100]

    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("flows.server.create_progress_artifact", fail)
    StageProgress("sft").bar("1%| |")


def test_runs_are_named_by_what_they_do(project) -> None:
    project(TALKING, "more: {cmd: cp talking more, deps: [talking], outs: [more]}")
    today = re.escape(f"{datetime.now():%Y-%m-%d}")
    pipeline(["talking"])
    assert re.fullmatch(rf"{today} \d\d:\d\d talking", newest_run().name)
    pipeline()
    assert re.fullmatch(rf"{today} \d\d:\d\d everything", newest_run().name)


def test_a_run_whose_process_was_killed_does_not_stay_running(project) -> None:
    project(TALKING)
    here = f"host:{socket.gethostname()}"
    tags = {
        "dead": [here, "process:4194303-00000000.1"],
        "alive": [here, f"process:{identity()}"],
        "elsewhere": ["host:elsewhere", "process:4194303-00000000.1"],
        "strange": [],
    }
    with get_client(sync_client=True) as client:
        made = {
            name: client.create_flow_run(pipeline, state=Running(), tags=own) for name, own in tags.items()
        }
        from flows.tasks import run_stage

        client.create_task_run(run_stage, made["dead"].id, dynamic_key="0", name="sft", state=Running())
        assert main([]) == 0
        states = {name: client.read_flow_run(run.id).state.name for name, run in made.items()}
        assert states == {"dead": "Crashed", "alive": "Running", "elsewhere": "Running", "strange": "Running"}
        assert [task.state.name for task in tasks_of(made["dead"])] == ["Crashed"]
        assert newest_run().state.name == "Completed"
        for run in made.values():
            client.delete_flow_run(run.id)


def test_the_flow_reaches_its_server_past_a_proxy_that_never_answers(project) -> None:
    folder: Path = project(TALKING)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "PREFECT_API_URL": PREFECT_API_URL.value() or "",
            **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY"), proxy),
            **dict.fromkeys(("no_proxy", "NO_PROXY"), ""),
        }
        environment.pop("PARROT_FLOW", None)
        command = [sys.executable, "-m", "flows.pipeline"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (folder / "talking").exists()


def test_a_form_says_what_each_field_takes() -> None:
    fields = pipeline.parameters.properties
    assert set(fields) == {
        "stages", "alone", "parallel", "profile", "overrides", "force", "publish", "new_data", "max_age_days",
    }  # fmt: skip
    assert all(len(field["description"]) > 40 for field in fields.values())
    assert fields["parallel"]["minimum"] == 1


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_stages_at_a_time_is_a_sentence(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--parallel", number])
    assert f"'{number}' is not a number of stages; it must be 1 or more" in capsys.readouterr().err
    with pytest.raises(Exception, match=r"parallel: Input should be"):
        pipeline(parallel=0)


@pytest.mark.skipif(sys.platform != "linux", reason="timers have no slack elsewhere")
def test_the_flows_own_server_may_be_woken_late_and_the_flow_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def slack() -> int:
        return int(ctypes.CDLL(None).prctl(30, 0, 0, 0, 0))  # PR_GET_TIMERSLACK, in nanoseconds

    before = slack()
    seen: list[int] = []
    monkeypatch.setattr(server, "get_client", lambda **_: seen.append(slack()))
    server.start_own_server()
    assert seen == [500_000_000]
    assert slack() == before < 1_000_000
