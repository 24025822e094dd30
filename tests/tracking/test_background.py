"""The process that sends the runs of a bare `dvc repro`: one for all stages, gone soon after DVC."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parrot.tracking.runs import runs_folder

ROOT = Path(__file__).parents[2]

STAGE = """
import os, sys
from pathlib import Path
from parrot.pipeline.processes import dvc_process
from parrot.tracking import track_stage
with track_stage(sys.argv[1], {}) as run:
    run.log_metrics({"records": 3})
    assert "mlflow" not in sys.modules, "another process sends it"
    Path(sys.argv[1]).touch()
    if sys.argv[1] == "second":
        dvc_process().kill()
        os._exit(9)
"""


def senders() -> list[Path]:
    return list(Path("mlruns").glob(".sender-*"))


def test_two_stages_share_a_sender_that_outlives_a_killed_dvc_by_seconds(
    project: Path, runs: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "stage.py").write_text(STAGE)
    lines = [
        f"  {name}: {{cmd: {sys.executable} stage.py {name}, outs: [{name}], deps: [{dep}]}}\n"
        for name, dep in (("first", "stage.py"), ("second", "first"))
    ]
    (project / "dvc.yaml").write_text("stages:\n" + "".join(lines))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True, env=os.environ)
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], env=os.environ)
    assert done.returncode == -9
    assert len(senders()) == 1
    deadline = time.monotonic() + 120
    while senders():
        assert time.monotonic() < deadline, "the sender is still there"
        time.sleep(0.2)
    found = runs()
    (first,), (second,), (pipeline,) = (found[name] for name in ("first", "second", "pipeline"))
    assert (first.info.status, second.info.status) == ("FINISHED", "KILLED")
    assert first.data.metrics == second.data.metrics == {"records": 3.0}
    for run in (first, second):
        assert run.data.tags["mlflow.parentRunId"] == pipeline.info.run_id
    assert pipeline.info.status == "KILLED"
    assert not list(runs_folder().iterdir())


def test_the_lock_of_progress_bars_is_replaced_before_the_thread_begins(project: Path) -> None:
    # A bar that was being drawn released a lock that it had not taken: a stage run by hand ended so.
    code = """
import sys
from parrot.tracking import sending
class Thread:
    def __init__(self, **given): assert "dvc.progress" in sys.modules
    def start(self): print("begun")
sending.threading.Thread = Thread
sending.Sender("mine", lambda *given: None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.stdout == "begun\n"
