"""Runs as they end up in a real SQLite store, and what happens when the store is not there."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parrot.errors import ParrotError
from parrot.tracking import track_pipeline, track_stage
from parrot.tracking.runs import birth_tags
from parrot.tracking.store import connect

ROOT = Path(__file__).parents[2]
Runs = Callable[[], dict[str, list]]

pytestmark = pytest.mark.usefixtures("project")


def test_a_stage_under_the_flow_is_a_child_with_its_own_params(project: Path, runs: Runs) -> None:
    (project / "curve.csv").write_text("1")
    with track_pipeline() as parent, track_stage("evaluate", {"sft": {"moe": {"weight": 1.0}}}) as run:
        run.log_metrics({"loss": 2.0}, step=1)
        run.log_metrics({"loss": 1.0}, step=2)
        run.log_metrics({"accuracy": {"en": 0.9, "overall": 0.8}, "protocol": "letter"})
        run.log_artifact("curve.csv")
    client, _ = connect()
    found = runs()
    assert [item.path for item in client.list_artifacts(parent.id)] == ["curve.csv", "params.json"]
    (child,), (pipeline,) = found["evaluate"], found["pipeline"]
    assert child.data.tags["mlflow.parentRunId"] == pipeline.info.run_id == parent.id
    assert child.data.params == {"sft.moe.weight": "1.0"}
    assert pipeline.data.params["sft.learning_rate"] == "0.001"
    assert pipeline.data.params["evaluate.files.en"] == "mmmb_en.tsv"
    assert [point.step for point in client.get_metric_history(child.info.run_id, "loss")] == [1, 2]
    assert pipeline.data.metrics == {"evaluate/accuracy.en": 0.9, "evaluate/accuracy.overall": 0.8}
    assert [item.path for item in client.list_artifacts(child.info.run_id)] == ["curve.csv"]
    assert (child.info.status, pipeline.info.status) == ("FINISHED", "FINISHED")


def test_how_a_stage_ends_is_how_its_run_ends(runs: Runs) -> None:
    for error in (ParrotError("data/x.json: broken"), KeyboardInterrupt(), SystemExit(143), SystemExit(0)):
        with pytest.raises(type(error)), track_stage("prepare", {}):
            raise error
    ended = [run.info.status for run in runs()["prepare"]]
    assert ended == ["FAILED", "KILLED", "KILLED", "FINISHED"]
    assert runs()["prepare"][0].data.tags["error"] == "data/x.json: broken"


def test_runs_of_dead_processes_are_ended(runs: Runs) -> None:
    client, experiment = connect()
    tags = birth_tags("stage", "1-1.00")
    client.create_run(experiment, run_name="dead", tags=tags)
    with track_stage("next", {}):
        pass
    assert runs()["dead"][0].info.status == "KILLED"


def test_long_values_are_shortened_visibly_and_odd_names_are_accepted(runs: Runs) -> None:
    with track_stage("sft", {"text": "x" * 9000}) as run:
        run.log_metrics({"accuracy@1": 1.0})
    (run,) = runs()["sft"]
    assert run.data.params["text"].endswith("… (9000 characters)")
    assert run.data.metrics == {"accuracy:1": 1.0}


def test_an_absent_server_stops_the_stage_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hush@127.0.0.1:9")
    told = r"no MLflow server answers at http://127\.0\.0\.1:9 .*start it"
    with pytest.raises(ParrotError, match=told), track_stage("prepare", {}):
        raise AssertionError("the stage must not run")


def test_scientific_notation_is_a_number(project: Path, runs: Runs) -> None:
    text = (project / "params.yaml").read_text().replace("  learning_rate: 1.0e-3", "  learning_rate: 1e-3")
    (project / "params.yaml").write_text(text)
    with track_pipeline():
        pass
    assert runs()["pipeline"][0].data.params["sft.learning_rate"] == "0.001"


def test_a_database_that_is_none_is_named(project: Path) -> None:
    (project / "mlflow.db").write_text("no database\n" * 100)
    with pytest.raises(ParrotError, match=r"mlflow\.db: not usable"), track_stage("prepare", {}):
        raise AssertionError("the stage must not run")


def test_system_metrics_are_sampled_while_a_stage_lasts(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parrot.tracking.system_metrics.SAMPLE_SECONDS", 0.05)
    with track_stage("sft", {}):
        time.sleep(0.3)
    metrics = runs()["sft"][0].data.metrics
    assert 0 < metrics["system/system_memory_usage_percentage"] <= 100
    assert "system/cpu_utilization_percentage" in metrics


def test_a_pipeline_run_tells_what_differs_from_its_profile(project: Path, runs: Runs) -> None:
    shutil.copytree(ROOT / "conf", project / "conf")
    with track_pipeline():
        pass
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("  learning_rate: 1.0e-3", "  learning_rate: 2.0e-3"))
    with track_pipeline():
        pass
    first, second = runs()["pipeline"]
    assert list(first.data.params) == ["profile"]
    assert second.data.params == first.data.params | {"sft.learning_rate": "0.002"}
    assert second.info.run_name == "sft.learning_rate 0.001 → 0.002"
    client, _ = connect()
    file = client.download_artifacts(second.info.run_id, "params.json")
    assert json.loads(Path(file).read_text())["evaluate.files.en"] == "mmmb_en.tsv"
