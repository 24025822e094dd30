"""Stages of two files and of `foreach` in MLflow, as the flow runs them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from parrot.tracking import log_states, track_pipeline
from parrot.tracking.dvc_stages import locked_stages, stages_before
from parrot.tracking.runs import runs_folder
from parrot.tracking.values import input_digests

ROOT = Path(__file__).parents[2]
TOWER = "part/dvc.yaml:tower"

STAGE = """
import os, sys
from pathlib import Path
from parrot.pipeline.graph import display_name
from parrot.tracking import track_stage
with track_stage(display_name(os.environ["DVC_STAGE"]), {}) as run:
    run.log_metrics({"records": 3})
    Path(sys.argv[1]).mkdir(parents=True)
    Path(sys.argv[1], "page.html").write_text(sys.argv[1])
    run.log_artifact(sys.argv[1])
    assert "mlflow" not in sys.modules, "the flow sends it"
    if len(sys.argv) > 2:
        os._exit(9)
"""


@pytest.fixture
def two_parts(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Part `part`, with parameters of its own, makes what `prepare@captions` and `prepare@questions` read."""
    (project / "stage.py").write_text(STAGE)
    (project / "part").mkdir()
    (project / "part/params.yaml").write_text("tower: {layers: 2}\n")
    run = f"{sys.executable} stage.py"
    (project / "part/dvc.yaml").write_text(
        f"stages:\n  tower:\n    wdir: ..\n    cmd: {run} made/tower\n    outs: [made/tower]\n"
        "    deps: [stage.py]\n    params: [seed, part/params.yaml: [tower]]\n"
    )
    (project / "dvc.yaml").write_text(
        "stages:\n  prepare:\n    foreach: [captions, questions]\n    do:\n"
        f"      cmd: {run} made/${{item}}\n      deps: [made/tower]\n      outs: ['made/${{item}}']\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    assert dvc("init", "-q", "--no-scm") == 0
    return project


def dvc(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], env=os.environ).returncode


def test_stages_are_found_by_their_addresses(two_parts: Path, runs: Callable) -> None:
    with track_pipeline() as first:
        assert dvc("repro", "-q") == 0
        log_states(first, dict.fromkeys((TOWER, "prepare@captions", "prepare@questions"), "done"))
    found = runs()
    assert set(found) == {"pipeline", "part:tower", "prepare@captions", "prepare@questions"}
    (pipeline,), (tower,), (captions,) = (
        found[name] for name in ("pipeline", "part:tower", "prepare@captions")
    )
    assert pipeline.data.metrics["prepare:captions/records"] == 3
    assert pipeline.data.tags["stage.part:tower"] == pipeline.data.tags["stage.prepare:captions"] == "done"
    assert pipeline.data.params["part.tower.layers"] == "2"
    assert captions.data.tags["mlflow.parentRunId"] == pipeline.info.run_id
    assert {run.info.status for of_name in found.values() for run in of_name} == {"FINISHED"}
    assert not list(runs_folder().iterdir())

    assert stages_before("prepare@captions") == [TOWER]
    locked_tower, locked_captions = locked_stages([TOWER, "prepare@captions"])
    assert locked_tower.params == {"seed": 1, "tower": {"layers": 2}}
    assert input_digests(captions)["made/tower"] == locked_captions.inputs["made/tower"]
    assert input_digests(tower)["stage.py"] == locked_tower.inputs["stage.py"]

    with track_pipeline() as second:
        log_states(second, {"prepare@captions": "cached"})
    tags = runs()["pipeline"][-1].data.tags
    assert tags["stage.prepare:captions"] == "cached"
    assert tags["stage.prepare:captions.run"] == captions.info.run_id


def test_a_stage_that_is_killed_under_the_flow_is_sent_as_far_as_it_came(
    two_parts: Path, runs: Callable
) -> None:
    file = two_parts / "part/dvc.yaml"
    file.write_text(file.read_text().replace("stage.py made/tower\n", "stage.py made/tower killed\n"))
    with track_pipeline():
        assert dvc("repro", "-q") != 0
    (tower,) = runs()["part:tower"]
    assert (tower.info.status, tower.data.metrics) == ("KILLED", {"records": 3.0})
