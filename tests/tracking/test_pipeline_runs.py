"""Bare `dvc repro` in MLflow: what each stage has read, and what the pipeline run shows."""

import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from called import dvc

from parrot.tracking import fetch_artifact
from parrot.tracking.earlier_runs import changes
from parrot.tracking.store import connect
from parrot.tracking.values import input_digests as inputs

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

STAGE = """
    import sys
    from pathlib import Path
    from parrot.tracking import track_stage

    name = sys.argv[1]
    with track_stage(name, {"sft.learning_rate": 1e-3} if name == "sft" else {}) as run:
        for output in sys.argv[2:]:
            file = Path(output)
            if file.suffix == ".json":
                file.write_text('{"accuracy": {"en": 0.5}}')
                run.log_metrics({"accuracy": {"en": 0.5}})
            else:
                file.mkdir()
                (file / "report.html").write_text(f"<p>{name}")
                (file / "part").mkdir()
                (file / "part" / "records").write_text(name)
                run.log_artifact(file)
"""


class History(NamedTuple):
    """Some `dvc repro` one after another: what the first said, what `dvc.lock` held after each, the runs."""

    said: str
    locks: list[dict]
    pipelines: list
    stages: dict[str, list]


@pytest.fixture(scope="module")
def history(shared_folder: Path, runs: Callable) -> History:
    """prepare → sft → package, with an input in a folder of an output, in `data/`, and in git."""
    folder = shared_folder
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / "stage.py").write_text(textwrap.dedent(STAGE))
    (folder / "data").mkdir()
    for file in ("data/records", "data/other", "extra"):
        (folder / file).write_text("1")
    run = f"{sys.executable} stage.py"
    (folder / "dvc.yaml").write_text(
        "vars: [{benchmark: data/records}]\n"
        "stages:\n"
        f"  prepare: {{cmd: {run} prepare made, deps: [data], outs: [made]}}\n"
        f"  sft:\n    cmd: {run} sft trained sft.json\n    deps: [made/part]\n    outs: [trained]\n"
        "    params: [sft.learning_rate]\n    metrics: [sft.json: {cache: false}]\n"
        f"  package:\n    cmd: {run} package packed\n    outs: [packed]\n"
        "    deps: [trained, '${benchmark}', extra]\n"
    )
    dvc("init", "-q", "--no-scm")
    dvc("add", "-q", "data")
    said, locks = dvc("repro"), [lock()]
    dvc("repro", "-q")  # nothing to do
    (folder / "extra").write_text("2")
    dvc("repro", "-q")
    locks.append(lock())
    text = (folder / "params.yaml").read_text()
    changed = text.replace("  learning_rate: 1.0e-3", "  learning_rate: 2.0e-3")
    assert changed != text
    (folder / "params.yaml").write_text(changed)
    dvc("repro", "-q")
    locks.append(lock())
    (folder / "data" / "records").write_text("changed, and not added")
    dvc("repro", "-q", "--single-item", "prepare")
    locks.append(lock())
    found = runs()
    return History(said, locks, found.pop("pipeline"), found)


def lock() -> dict:
    return yaml.safe_load(Path("dvc.lock").read_text())["stages"]


def locked_inputs(entry: dict) -> dict[str, str]:
    return {item["path"]: item["md5"] for item in entry["deps"]}


def shown_in(run, folder: str) -> list[str]:
    client, _ = connect()
    return [item.path for item in client.list_artifacts(run.info.run_id, folder)]


def test_inputs_are_what_dvc_lock_says_once_the_stage_has_ended(history: History) -> None:
    """Also a folder within an output, a path from a variable, a file within `data/` and one of git."""
    (sft, again), (package, second) = history.stages["sft"], history.stages["package"]
    assert list(inputs(sft)) == ["made/part"]
    assert sorted(inputs(package)) == ["data/records", "extra", "trained"]
    before, after, third, last = history.locks
    assert inputs(sft) == locked_inputs(before["sft"])
    assert inputs(again) == locked_inputs(third["sft"])
    assert inputs(package) == locked_inputs(before["package"])
    assert inputs(second) == locked_inputs(after["package"]) != inputs(package)
    prepares = [inputs(run) for run in history.stages["prepare"]]
    assert prepares == [locked_inputs(before["prepare"]), locked_inputs(last["prepare"])]


def test_a_pipeline_run_is_named_by_what_changed(history: History) -> None:
    names = [run.info.run_name for run in history.pipelines]
    assert names == ["first run", "same settings", "sft.learning_rate 0.001 → 0.002", "data"]
    assert {run.info.status for run in history.pipelines} == {"FINISHED"}


def test_a_pipeline_run_carries_metrics_and_pages_itself(history: History) -> None:
    first = history.pipelines[0]
    assert first.data.metrics == {"sft/accuracy.en": 0.5}
    assert shown_in(first, "made") == ["made/report.html"]
    assert shown_in(first, "trained") == ["trained/report.html"]


def test_where_the_run_is_seen_is_said(history: History) -> None:
    info = history.pipelines[0].info
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in history.said
    runs = f"http://127.0.0.1:5000/#/experiments/{info.experiment_id}/runs"
    assert f"{runs}?workflowType=machine_learning" in history.said
    assert f"{runs}/{info.run_id}?workflowType=machine_learning" in history.said


def test_cached_stages_are_shown_as_what_they_are(history: History) -> None:
    second = history.pipelines[1]
    assert second.data.metrics == {"sft/accuracy.en": 0.5}
    states = {name: value for name, value in second.data.tags.items() if name.startswith("stage.")}
    assert states == {
        "stage.prepare": "cached",
        "stage.prepare.run": history.stages["prepare"][0].info.run_id,
        "stage.sft": "cached",
        "stage.sft.run": history.stages["sft"][0].info.run_id,
        "stage.package": "done",
    }
    assert shown_in(second, "trained") == ["trained/report.html"]


def test_the_whole_output_is_fetched_from_the_stage_that_made_it(history: History, tmp_path: Path) -> None:
    """A pipeline run has only what people look at, and a cached stage no run of its own in it."""
    for pipeline in history.pipelines[:2]:
        fetched = fetch_artifact(pipeline.info.run_id, "trained", tmp_path / pipeline.info.run_id)
        assert (fetched / "part" / "records").read_text() == "sft"


def test_the_data_that_is_there_is_told_not_the_data_that_was_added(history: History) -> None:
    first, last = history.pipelines[0], history.pipelines[-1]
    assert last.data.tags["data"] == inputs(history.stages["prepare"][-1])["data"]
    assert last.data.tags["data"] != first.data.tags["data"]
    assert inputs(last) == {"data": last.data.tags["data"]}, "the list of runs shows it"


def test_changes_are_told_short() -> None:
    before = {"a": "1", "b": "x" * 50, "c": "same", "gone": "5"}
    now = {"a": "2", "b": "y" * 50, "c": "same", "new": "true"}
    assert changes(before, now) == ["a 1 → 2", "b", "new unset → true", "gone 5 → unset"]
