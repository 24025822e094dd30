"""A stage on a worker is a child of the pipeline's run in MLflow, though another clone has made that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.stage_on_worker import run_on_worker
from parrot.pipeline.travel import WORKER_VARIABLE
from parrot.tracking import PARENT_VARIABLE
from parrot.tracking.store import connect

ROOT = Path(__file__).parents[2]
TRAIN = "train: {cmd: python train.py, deps: [source, train.py], outs: [model]}"
SCRIPT = """
from pathlib import Path
from parrot.tracking import track_stage

with track_stage("train", {}) as run:
    Path("model").write_text(Path("source").read_text())
    run.log_metrics({"loss": 0.5})
"""


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("known", [True, False], ids=["same store", "another store"])
def test_the_parent_is_the_pipelines_if_this_store_has_it(
    project, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    for name in (PARENT_VARIABLE, WORKER_VARIABLE):
        monkeypatch.setenv(name, "")  # so that it is removed again
    monkeypatch.delenv(PARENT_VARIABLE)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    folder = project(TRAIN)
    (folder / "train.py").write_text(SCRIPT)
    for command in (
        ["dvc", "remote", "add", "--default", "shared", str(folder / "remote")],
        ["git", "init", "--quiet"],
        ["git", "add", "dvc.yaml", "source", "train.py", ".dvc/config"],
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "all"],
    ):
        subprocess.run(command, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    client, experiment = connect()
    parent = client.create_run(experiment, tags={"parrot.kind": "pipeline"}).info.run_id

    state = run_on_worker("train", commit.strip(), parent=parent if known else "0" * 32, return_state=True)

    assert state.is_completed(), state.message
    made = client.search_runs([experiment], f"attributes.run_name = 'train' AND attributes.start_time > "
                              f"{client.get_run(parent).info.start_time}")  # fmt: skip
    (run,) = made
    assert run.data.metrics["loss"] == 0.5
    assert run.data.tags.get("mlflow.parentRunId") == (parent if known else None)
    assert client.get_run(parent).data.metrics == ({"train/loss": 0.5} if known else {})
