"""The flow on toy projects: order, cache, failure, retry, lock, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path

import psutil
import pytest
import yaml
from process_end import ended, number_ended

from flows.pipeline import main, pipeline
from flows.reproduce import LOCK_FILE, StageFailed
from parrot.errors import ParrotError
from parrot.pipeline.processes import pipeline_lock

ROOT = Path(__file__).parents[2]
CHAIN = (
    "first: {cmd: cp source first && echo first >> order, deps: [source], outs: [first]}",
    "left: {cmd: sleep 1 && cp first left && date +%s.%N > left.end && echo left >> order, "
    "deps: [first], outs: [left]}",
    "right: {cmd: date +%s.%N > right.start && sleep 1 && cp first right && echo right >> order, "
    "deps: [first], outs: [right]}",
    "last: {cmd: cat left right > last && echo last >> order, deps: [left, right], outs: [last]}",
)
NAMES = ("first", "left", "right", "last")


def states(output: str) -> dict[str, str]:
    """The table at the end."""
    table = output.partition("  stage ")[2].partition("\nWhere to look next")[0]
    rows = [line.split() for line in table.splitlines()[1:]]
    return {row[0]: " ".join(row[1:-1]) for row in rows if row}


@pytest.mark.usefixtures("servers")
def test_stages_run_in_order_in_parallel_and_once(project, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project(*CHAIN)
    assert main(["--parallel", "2"]) == 0
    assert states(capsys.readouterr().out) == dict.fromkeys(NAMES, "done")
    order = (folder / "order").read_text().split()
    assert (order[0], sorted(order[1:3]), order[3]) == ("first", ["left", "right"], "last")
    assert float((folder / "right.start").read_text()) < float((folder / "left.end").read_text())
    assert set(yaml.safe_load((folder / "dvc.lock").read_text())["stages"]) == set(NAMES)
    status = subprocess.run([sys.executable, "-m", "dvc", "status", "-q"])
    assert status.returncode == 0, "DVC itself must find nothing left to do"

    assert main([]) == 0
    assert states(capsys.readouterr().out) == dict.fromkeys(NAMES, "cached")
    assert (folder / "order").read_text().split() == order

    (folder / "first").unlink()
    assert main(["left"]) == 0
    assert states(capsys.readouterr().out) == {"first": "restored", "left": "cached"}


@pytest.mark.usefixtures("servers")
def test_a_failing_stage_stops_the_rest_with_its_sentence(
    project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(
        "bad: {cmd: \"echo x >> tries; echo 'parrot bad: data/a.json: broken' >&2; exit 1\", "
        "deps: [source], outs: [bad]}",
        "after: {cmd: cp bad after, deps: [bad], outs: [after]}",
    )
    assert main([]) == 1
    said = capsys.readouterr()
    assert said.err.strip().endswith("parrot: bad: data/a.json: broken")
    assert "Traceback" not in said.err + said.out
    assert states(said.out) == {"bad": "failed", "after": "not run"}
    assert (folder / "tries").read_text() == "x\n", "bad input is not tried again"


@pytest.mark.usefixtures("servers")
def test_a_killed_stage_is_tried_once_more(project) -> None:
    folder = project(
        "shot: {cmd: 'echo x >> tries; [ $(wc -l < tries) = 2 ] || kill -9 $$; cp source shot', "
        "deps: [source], outs: [shot]}",
    )
    pipeline()
    assert (folder / "tries").read_text() == "x\nx\n"
    (folder / "source").write_text("2")
    with pytest.raises(StageFailed, match=r"shot: killed by SIGKILL"):
        pipeline()
    assert (folder / "tries").read_text() == "x\n" * 4


@pytest.mark.usefixtures("servers")
def test_one_run_at_a_time(project) -> None:
    project(*CHAIN)
    script = (
        f"import time; from parrot.pipeline.processes import pipeline_lock\n"
        f"with pipeline_lock('{LOCK_FILE}'): print('held', flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    try:
        assert holder.stdout and holder.stdout.readline()
        with pytest.raises(ParrotError, match=f"already running here \\(process {holder.pid}"):
            pipeline()
    finally:
        holder.kill()
        holder.communicate()
    with pipeline_lock(LOCK_FILE):
        pass


@pytest.mark.usefixtures("servers")
def test_the_summary_is_an_artifact_with_the_accuracy(project, capsys: pytest.CaptureFixture[str]) -> None:
    from prefect.settings import PREFECT_API_URL

    values = '{"accuracy": {"en": 0.95, "overall": 0.9}, "blind": {"en": 0.3, "overall": 0.25}}'
    (Path.cwd() / "values").write_text(values)
    project(
        "evaluate: {cmd: mkdir -p metrics && cp values metrics/evaluate.json, "
        "deps: [values], outs: [metrics/evaluate.json]}"
    )
    assert main([]) == 0
    request = urllib.request.Request(
        f"{PREFECT_API_URL.value()}/artifacts/latest/filter",
        data=b'{"artifacts": {"key": {"any_": ["parrot-summary"]}}}',
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        (artifact,) = json.load(answer)
    assert "| en | 95.0 | 30.0 |" in artifact["data"]
    assert "| evaluate | done |" in artifact["data"]
    assert "overall" in capsys.readouterr().out


def test_an_absent_prefect_server_is_named(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert main([]) == 1
    assert "no Prefect server answers at http://127.0.0.1:9/api" in capsys.readouterr().err


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_flow_leaves_nothing_running(project, number: int) -> None:
    from prefect.settings import PREFECT_API_URL

    from parrot.tracking.store import connect

    folder = project("long: {cmd: 'sleep 600 & echo $! > pid; wait', deps: [source], outs: [long]}")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    environment.pop("PARROT_FLOW", None)
    command = [sys.executable, "-m", "flows.pipeline"]
    # A runner in the background may ignore SIGINT, and a child would inherit that.
    interruptible = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    flow = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, preexec_fn=interruptible)
    deadline = time.monotonic() + 120
    while not ((folder / "pid").exists() and (folder / "pid").read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    below = psutil.Process(flow.pid).children(recursive=True)
    sleeper = psutil.Process(int((folder / "pid").read_text()))
    flow.send_signal(number)
    flow.wait(timeout=60)
    assert ended([*below, sleeper])
    with pipeline_lock(LOCK_FILE):
        pass
    if number != signal.SIGKILL:
        client, experiment = connect()
        newest = client.search_runs([experiment], "tags.`parrot.kind` = 'pipeline'", max_results=1)[0]
        assert newest.info.status == "KILLED"


@pytest.mark.usefixtures("servers")
def test_a_stage_that_takes_too_long_is_ended_and_not_tried_again(
    project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder: Path = project(
        "endless: {cmd: 'echo x >> tries; sleep 600 & echo $! > pid; wait', deps: [source], outs: [endless], "
        "meta: {timeout_minutes: 0.1}}"
    )
    assert main([]) == 1
    assert "endless: took more than 0.1 minutes (dvc.yaml: meta, timeout_minutes)" in capsys.readouterr().err
    assert (folder / "tries").read_text() == "x\n"
    assert number_ended(int((folder / "pid").read_text()))
