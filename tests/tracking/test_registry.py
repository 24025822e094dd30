"""Logged models, versions and lineage of a small project that has trained two models."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from called import call, dvc
from mlflow import MlflowClient

from parrot.errors import Gone, ParrotError
from parrot.lineage_report import as_json, as_text, trace
from parrot.tracking import registry, track_pipeline
from parrot.tracking.earlier_runs import fetch_artifact
from parrot.tracking.registry import ModelVersion
from parrot.tracking.store import connect

ROOT = Path(__file__).parents[2]
NAME = "parrot-demo"

STAGE = """
import json, sys
from pathlib import Path
from parrot.lineage import dvc_hashes, run_tags
from parrot.tracking import track_stage

name, output = sys.argv[1], Path(sys.argv[2])
good = "0.002" in Path("params.yaml").read_text()
params = {"sft": {"sft.learning_rate": 0.002 if good else 0.001},
          "evaluate": {"evaluate.benchmark": "data/mmmb/test"}}
with track_stage(name, params.get(name, {})) as run:
    output.mkdir(parents=True)
    (output / "file").write_text(f"{name} {good}")
    if name == "evaluate":
        run.log_metrics({"test/accuracy": {"en": 0.9, "tr": 0.95 if good else 0.5}})
        run.log_artifact(output)
    if name == "package":
        trained = {"commit": run_tags()["mlflow.source.git.commit"], "uncommitted_changes": "False"}
        lineage = {"trained": trained, "inputs": dvc_hashes("package", "deps")}
        (output / "lineage.json").write_text(json.dumps(lineage))
"""


class Made(NamedTuple):
    """A project in which a good model was registered and promoted, and then a worse one registered."""

    folder: Path
    good: ModelVersion
    worse: ModelVersion


def run_and_register() -> ModelVersion:
    with track_pipeline():
        dvc("repro", "-q")
    version = registry.register(NAME)
    call("git", "add", "--all")
    call("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "trained")
    return version


@pytest.fixture(scope="module")
def made(shared_folder: Path) -> Made:
    folder = shared_folder
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(text.replace("  learning_rate: 1.0e-3", "  learning_rate: 0.002"))
    (folder / "stage.py").write_text(STAGE)
    (folder / ".gitignore").write_text("/mlflow.db\n/mlruns\n")
    (folder / "data/mmmb/test").mkdir(parents=True)
    (folder / "data/mmmb/test/questions").write_text("?")
    stages = {
        "sft": ("artifacts/sft", "deps: [data]", "params: [sft.learning_rate]"),
        "predict": ("artifacts/predictions", "deps: [artifacts/sft, data/mmmb/test]"),
        "evaluate": ("artifacts/evaluation", "deps: [artifacts/predictions, data/mmmb/test]",
                     "params: [evaluate.benchmark]"),
        "package": ("artifacts/package", "deps: [artifacts/sft, artifacts/evaluation]"),
    }  # fmt: skip
    lines = [
        f"  {name}: {{cmd: {sys.executable} stage.py {name} {out}, outs: [{out}], {', '.join(more)}}}"
        for name, (out, *more) in stages.items()
    ]
    (folder / "dvc.yaml").write_text("\n".join(["stages:", *lines]) + "\n")
    assert registry.champion(NAME) is None
    with pytest.raises(ParrotError, match="no evaluated model to register"):
        registry.register(NAME)
    call("git", "init", "-q")
    dvc("init", "-q")
    dvc("add", "-q", "data")
    call("git", "add", "--all")
    call("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "begin")
    good = run_and_register()
    registry.promote(good)
    (folder / "params.yaml").write_text(text)
    worse = run_and_register()
    return Made(folder, good, worse)


@pytest.fixture
def client(made: Made, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(made.folder)
    return connect()[0]


def test_the_champion_is_found_by_its_turkish_accuracy(made: Made, client: MlflowClient) -> None:
    """As README.md says."""
    typed = re.search(r"``(import mlflow.*?)(mlflow\.search.*?)``", (ROOT / "README.md").read_text())
    assert typed
    said = call(sys.executable, "-c", f"{typed[1]}print(*{typed[2]}['model_id'])")
    (model,) = re.findall(r"\bm-[0-9a-f]{32}\b", said)
    found = client.get_logged_model(model)
    filters = "metrics.`test/accuracy.tr` > 0.9"
    by_data = client.search_logged_models(
        [found.experiment_id], filters, datasets=[{"dataset_name": "data/mmmb/test"}]
    )
    assert [item.model_id for item in by_data] == [model]
    assert found.tags["weights"] == made.good.weights == registry.champion(NAME).weights
    assert found.params["sft.learning_rate"] == "0.002"
    (turkish,) = [metric for metric in found.metrics if metric.key == "test/accuracy.tr"]
    lock = (made.folder / "dvc.lock").read_text()
    assert turkish.dataset_digest in lock
    assert client.get_run(found.source_run_id).info.run_name == "sft"


def test_the_same_weights_are_the_same_version(made: Made, client: MlflowClient) -> None:
    assert registry.register(NAME) == made.worse
    assert [version.version for version in registry.versions(NAME)] == ["1", "2"]
    assert registry.by_alias(NAME, "challenger") == made.worse
    assert client.get_run(made.worse.run_id).info.run_name == "package"
    with pytest.raises(ParrotError, match="other weights"):
        registry.register(NAME, made.good.run_id)


def test_each_version_has_its_own_evaluation(made: Made, client: MlflowClient, tmp_path: Path) -> None:
    texts = [
        (registry.fetch_evaluation(version, tmp_path / version.version) / "file").read_text()
        for version in (made.good, made.worse)
    ]
    assert texts == ["evaluate True", "evaluate False"]


def test_aliases_move_and_remember(made: Made, client: MlflowClient) -> None:
    for _ in range(2):  # once more changes nothing
        registry.promote(made.worse)
        assert registry.champion(NAME) == made.worse
        assert registry.by_alias(NAME, "previous") == made.good
        assert registry.by_alias(NAME, "challenger") is None
    registry.promote(made.good)
    assert registry.by_alias(NAME, "previous") == made.worse


def test_a_tag_is_seen_on_version_run_and_pipeline(made: Made, client: MlflowClient) -> None:
    registry.tag(made.worse, "verdict", "REJECT, token=hush-hush")
    run = client.get_run(made.worse.run_id)
    parent = client.get_run(run.data.tags["mlflow.parentRunId"])
    version = client.get_model_version(NAME, made.worse.version)
    assert {run.data.tags["verdict"], parent.data.tags["verdict"], version.tags["verdict"]} == {
        "REJECT, token=***"
    }


def test_a_champion_that_was_deleted_is_no_first_model(
    made: Made, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create_registered_model("other")
    version = client.create_model_version("other", "file:///nowhere", made.good.run_id)
    other = replace(made.good, name="other", version=version.version)
    registry.promote(other)
    client.delete_model_version("other", version.version)
    with pytest.raises(Gone, match="version 1 or its alias has been deleted"):
        registry.champion("other")
    with pytest.raises(Gone, match="the registry of models says"):
        registry.fetch_evaluation(other, Path("elsewhere"))
    with pytest.raises(Gone, match="cannot be read"):
        fetch_artifact("0" * 32, "evaluation", Path("elsewhere"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ParrotError, match="no MLflow server answers") as away:
        registry.champion("other")
    assert not isinstance(away.value, Gone)


def test_a_pipeline_run_shows_accuracies_and_what_changed_since(made: Made, client: MlflowClient) -> None:
    run = client.get_run(client.get_run(made.worse.run_id).data.tags["mlflow.parentRunId"])
    assert "| test | tr | 50.0 | 95.0 | -45.0 |" in run.data.tags["mlflow.note.content"]
    table = json.loads(Path(client.download_artifacts(run.info.run_id, "accuracy.json")).read_text())
    assert ["test", "tr", "50.0", "95.0", "-45.0", ""] in table["data"]
    assert run.info.run_name == "sft.learning_rate 0.002 → 0.001"


def test_lineage_leads_from_each_to_all(made: Made, client: MlflowClient, monkeypatch) -> None:
    registry.promote(made.good)
    commit = call("git", "rev-parse", "HEAD~1")
    parent = client.get_run(made.good.run_id).data.tags["mlflow.parentRunId"]
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, file: f"artifacts/package/{file}")
    for asked, version in {
        "artifacts/package": made.worse,
        "someone/parrot": made.worse,
        "HEAD": made.worse,
        f"models:/{NAME}/2": made.worse,
        commit: made.good,
        f"models:/{NAME}@champion": made.good,
        made.good.run_id: made.good,
        f"runs:/{parent}": made.good,
    }.items():
        found = trace(asked)
        assert (found.weights, found.missing) == (version.weights, []), asked
        assert [item["version"] for item in found.versions] == [version.version]
        assert {"sft", "evaluate", "package"} < {run["name"] for run in found.runs}
        assert [item["path"] for item in found.chain] == ["artifacts/sft", "data"]
        assert {item["where"] for item in found.chain} == {"cache"}
        assert found.rebuild == [f"git checkout {found.commit}", "dvc pull data.dvc", "dvc repro package"]
        assert json.loads(as_json(found))["weights"] in as_text(found)


def test_lineage_says_what_is_missing(made: Made, client: MlflowClient) -> None:
    md5 = made.good.weights
    stored = made.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    stored.rename(made.folder / "away")
    try:
        found = trace(f"models:/{NAME}/1")
    finally:
        (made.folder / "away").rename(stored)
    assert f"artifacts/sft ({md5}) is neither in DVC's cache nor on its remote" in "".join(found.missing)
    assert not found.fetch
    assert found.rebuild
    gone = "0" * 40
    package = made.folder / "elsewhere"
    package.mkdir()
    card = {"trained": {"commit": gone, "uncommitted_changes": "True"}, "inputs": {"artifacts/sft": "f" * 32}}
    (package / "lineage.json").write_text(json.dumps(card))
    said = as_text(trace(str(package)))
    for part in (f"commit {gone} is not in this clone", "changes that were in no commit", "no run of it",
                 "no dvc.lock of this clone"):  # fmt: skip
        assert part in said
    with pytest.raises(ParrotError, match="there is no run"):
        trace("1" * 32)
    with pytest.raises(ParrotError, match="neither a package's folder"):
        trace("no such thing")
