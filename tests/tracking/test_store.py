"""Where the store and its files lie, also after the checkout has been moved or copied."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from parrot.tracking import fetch_artifact, track_stage
from parrot.tracking.store import connect, where_to_look

Runs = Callable[[], dict[str, list]]


def make_run(folder: Path, text: str) -> str:
    (folder / "plots").mkdir(exist_ok=True)
    (folder / "plots" / "loss.csv").write_text(text)
    with track_stage("align", {}) as run:
        run.log_artifact("plots")
    assert run.id
    return run.id


def read(run: str) -> str:
    client, _ = connect()
    return Path(client.download_artifacts(run, "plots/loss.csv")).read_text()


@pytest.mark.parametrize("how", ["moved", "copied"])
@pytest.mark.parametrize("name", ["elsewhere", "a place/with ü & 100%"])
def test_a_moved_or_copied_checkout_writes_to_itself(
    tmp_path_factory: pytest.TempPathFactory, project: Path, how: str, name: str, monkeypatch
) -> None:
    first = make_run(project, "first")
    target = tmp_path_factory.mktemp("other") / name
    (shutil.move if how == "moved" else shutil.copytree)(project, target)
    before = {file: file.stat().st_mtime_ns for file in project.rglob("*")}
    monkeypatch.chdir(target)
    assert read(first) == "first"
    second = make_run(target, "second")
    assert read(second) == "second"
    client, experiment = connect()
    for place in (
        client.get_experiment(experiment).artifact_location,
        *(client.get_run(run).info.artifact_uri for run in (first, second)),
    ):
        assert place.startswith((target / "mlruns").as_uri())
    assert fetch_artifact(first, "plots", target / "fetched").joinpath("loss.csv").read_text() == "first"
    assert {file: file.stat().st_mtime_ns for file in project.rglob("*")} == before


def test_a_database_copied_alone_still_finds_what_was_left(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, project: Path, monkeypatch
) -> None:
    first = make_run(project, "first")
    target = tmp_path_factory.mktemp("alone")
    shutil.copy(project / "mlflow.db", target)
    monkeypatch.chdir(target)
    assert read(first) == "first"
    assert read(make_run(target, "second")) == "second"
    assert (target / "mlruns").is_dir()


def test_files_of_another_database_lie_beside_it(
    tmp_path_factory: pytest.TempPathFactory, project: Path, empty_store: Path, monkeypatch
) -> None:
    other = tmp_path_factory.mktemp("shared")
    shutil.copy(empty_store, other / "runs.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other / 'runs.db'}")
    assert read(make_run(project, "x")) == "x"
    assert list((other / "mlruns" / "parrot").iterdir())
    assert dict(where_to_look("1"))["runs, parameters, curves"].endswith(f"sqlite:///{other / 'runs.db'}")


def test_the_empty_default_experiment_is_gone(project: Path) -> None:
    client, experiment = connect()
    assert [found.experiment_id for found in client.search_experiments()] == [experiment]
    assert client.get_experiment(experiment).tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_default_experiment_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}").create_run("0")
    client, experiment = connect()
    assert {found.experiment_id for found in client.search_experiments()} == {"0", experiment}


def test_addresses_of_a_server_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:hush@runs.example.org/mlflow/")
    assert where_to_look("7", "abc") == [
        ("all runs", "https://runs.example.org/mlflow/#/experiments/7/runs?workflowType=machine_learning"),
        (
            "this run",
            "https://runs.example.org/mlflow/#/experiments/7/runs/abc?workflowType=machine_learning",
        ),
    ]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hush@runs.example.org/db")
    assert "hush" not in str(where_to_look("7", "abc"))
    assert os.environ["MLFLOW_TRACKING_URI"]
