"""The whole chain in miniature, as `dvc repro` runs it."""

import json
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import torch
from miniature import WORLD_PARAMS, Project
from safetensors.torch import load_file

from parrot.pipeline.checkpoints import ENDED

EXAMPLE = ("vision", "language")
PREPARED = [f"prepare@{name}" for name in ("captions", "questions", "conversations", "instructions")]
STAGES = [
    *EXAMPLE, "backbone@vision", "backbone@language", *PREPARED, "mix@align", "mix@sft", "validate@align",
    "validate@sft", "align", "sft", "predict", "evaluate", "package",
]  # fmt: skip


def stages_run(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def read(project: Project, name: str) -> dict:
    return json.loads((project.folder / "metrics" / f"{name}.json").read_text(encoding="utf-8"))


def runs(project: Project) -> list[tuple[str, str, str | None]]:
    """(name, status, parent's name) of every MLflow run."""
    with closing(sqlite3.connect(project.folder / "mlflow.db")) as database:
        rows = database.execute("select run_uuid, name, status from runs").fetchall()
        query = "select run_uuid, value from tags where key = 'mlflow.parentRunId'"
        tags = database.execute(query).fetchall()
    names = {run: name for run, name, _ in rows}
    parents = dict(tags)
    return [(name, status, names.get(parents.get(run))) for run, name, status in rows]


def test_every_stage_leaves_what_the_next_needs(finished: Project) -> None:
    evaluation = read(finished, "evaluate")
    languages = ["en", "zh", "pt", "ar", "tr", "ru", "overall"]
    for key in ("accuracy", "blind", "letter"):
        assert list(evaluation[key]) == languages
        assert all(0 <= share <= 1 for share in evaluation[key].values())
    assert evaluation["questions"] == 6 * 15
    assert evaluation["protocol"] == "option_likelihood"
    assert 0.25 <= evaluation["chance"] < 0.35
    assert read(finished, "prepare/captions")["kept"] + read(finished, "prepare/questions")["kept"] == 100
    assert read(finished, "mix/align")["records"] <= 100
    package = finished.folder / "artifacts/package"
    assert json.loads((package / "example.json").read_text(encoding="utf-8"))["question"]
    card = (package / "README.md").read_text(encoding="utf-8")
    assert "model-index" in card
    assert "pipeline_tag: image-text-to-text" in card
    lineage = json.loads((package / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["trained"]["params"]["sft"]["training"]["max_steps"] == 4
    assert lineage["trained"]["aligned"]["seed"] == lineage["trained"]["seed"]
    assert not list(package.rglob("*.bin")) + list(package.rglob("*.pt"))


def test_mlflow_has_one_parent_with_a_child_for_each_stage(finished: Project) -> None:
    found = runs(finished)
    children = [name for name, _, parent in found if parent is not None]
    assert sorted(set(children)) == sorted(f"picture_world:{n}" if n in EXAMPLE else n for n in STAGES)
    assert len([run for run in found if run[2] is None]) >= 1
    assert {status for _, status, _ in found} == {"FINISHED"}


def test_a_second_run_has_nothing_to_do(finished: Project) -> None:
    again = finished.repro()
    assert again.returncode == 0
    assert stages_run(again.stdout) == []
    assert "up to date" in again.stdout


def test_a_changed_parameter_reruns_what_depends_on_it(finished: Project) -> None:
    params = finished.folder / "params.yaml"
    before = params.read_text(encoding="utf-8")
    outputs = {name: stage["outs"] for name, stage in finished.lock().items()}
    try:
        finished.set_params({"vision.hidden_size": 64}, WORLD_PARAMS)
        # What else follows depends on what the stage then makes.
        assert stages_run(finished.repro("--dry").stdout) == ["examples/picture_world/dvc.yaml:vision"]
        finished.set_params({"vision.hidden_size": 32}, WORLD_PARAMS)
        finished.set_params({"sft.learning_rate": 0.002})
        done = finished.repro()
        assert done.returncode == 0
        assert stages_run(done.stdout) == ["sft", "predict", "evaluate", "package"]
    finally:
        params.write_text(before, encoding="utf-8")
    assert finished.repro().returncode == 0
    assert {name: stage["outs"] for name, stage in finished.lock().items()} == outputs


def survivors(folder: Path) -> list[dict]:
    """Processes that still work in `folder`."""
    found = psutil.process_iter(["pid", "cmdline", "cwd"])
    return [process.info for process in found if str(process.info["cwd"]).startswith(str(folder))]


def wait_until_nobody_works_in(folder: Path, seconds: float = 30) -> None:
    """The sender of the runs may only now come to importing mlflow, and still has something to send."""
    deadline = time.monotonic() + seconds
    while left := survivors(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.parametrize("after", [0.6, *(pytest.param(s, marks=pytest.mark.slow) for s in (0, 0.3, 1, 1.5))])
def test_a_stage_that_is_still_starting_ends_with_dvc(
    make_project: Callable[[], Project], after: float
) -> None:
    """DVC is killed while its stage imports what it needs, and cannot see yet whom it works for."""
    project = make_project()
    process = project.start("dvc", "repro", "prepare@conversations")
    assert process.stdout
    for line in process.stdout:
        if line.startswith("> parrot prepare"):
            break
    time.sleep(after)
    process.kill()
    process.wait(timeout=60)
    process.stdout.close()
    wait_until_nobody_works_in(project.folder)
    if not after:
        assert not (project.folder / "artifacts/prepared").exists(), "the stage has done its work"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "kill"),
    [("sft", signal.SIGKILL), ("align", signal.SIGTERM)],
    ids=["sft-KILL", "align-TERM"],
)
def test_a_killed_chain_ends_in_the_same_result(
    finished: Project,
    make_project: Callable[[], Project],
    stage: str,
    kill: signal.Signals,
) -> None:
    project = make_project()
    process = project.start("dvc", "repro")
    assert process.stdout
    for line in process.stdout:
        if line.startswith(f"Running stage '{stage}'"):
            break
    time.sleep(6)
    process.send_signal(kill)
    process.wait(timeout=60)
    process.stdout.close()
    wait_until_nobody_works_in(project.folder)
    assert not (project.folder / "artifacts/package").exists()
    done = project.repro()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    ours, theirs = project.lock(), finished.lock()
    for name in STAGES:
        assert ours[name]["outs"] == theirs[name]["outs"], name


def test_each_training_waits_for_the_stamp_of_its_records_and_no_backbone_for_any(finished: Project) -> None:
    waiting = {
        name: stamps
        for name, stage in finished.lock().items()
        if (stamps := [dep["path"] for dep in stage["deps"] if dep["path"].startswith("artifacts/validated")])
    }
    assert waiting == {
        "align": ["artifacts/validated/align.json"],
        "sft": ["artifacts/validated/sft.json"],
        "package": ["artifacts/validated"],
    }


def test_a_planted_violation_stops_before_training(finished: Project, tmp_path: Path) -> None:
    project = Project(shutil.copytree(finished.folder, tmp_path / "parrot", symlinks=True))
    for language in ("zh", "pt"):
        file = project.folder / f"data/conversations/{language}.json"
        entries = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(entries[:1]), encoding="utf-8")
    assert project.run("dvc", "add", "--quiet", "data").returncode == 0
    done = project.repro("sft")
    assert done.returncode != 0
    ran = stages_run(done.stdout)
    assert ran == ["prepare@conversations", "mix@sft", "validate@sft"]
    assert "Traceback" not in done.stderr
    assert "zh" in done.stderr
    assert not (project.folder / "artifacts/validated/sft.json").exists()


def test_lora_leaves_the_language_models_own_weights_alone(finished: Project) -> None:
    adapted = ["q_proj", "v_proj"]
    lora = {"rank": 2, "alpha": 4, "dropout": 0.0, "target_modules": adapted}
    finished.set_params({"sft.lora": lora})
    inputs = {"records": "prepared/sft", "mixture": "mixtures/sft", "vision": "backbones/vision",
              "language": "backbones/language", "aligned": "align", "output": "lora"}  # fmt: skip
    paths = [part for name, path in inputs.items() for part in (f"--{name}", f"artifacts/{path}")]
    done = finished.run("parrot", "sft", *paths, "--curve", "lora.csv", "--metrics", "lora.json")
    finished.set_params({"sft.lora": None})
    assert done.returncode == 0, done.stderr[-3000:]
    before = load_file(finished.folder / "artifacts/backbones/language/model.safetensors")
    after = load_file(finished.folder / "artifacts/lora/model.safetensors")
    learned = {name for name in before if name.endswith(".weight") and name.split(".")[-2] in adapted}
    for name, tensor in before.items():
        ours = after[name.replace("model.", "model.language_model.", 1)]
        assert torch.equal(tensor, ours) != (name in learned), name
    adapter = load_file(finished.folder / "artifacts/lora/adapter/adapter_model.safetensors")
    assert learned and len(adapter) == 2 * len(learned)


def prepare(project: Project) -> subprocess.CompletedProcess[str]:
    """A stage of one source, by hand."""
    return project.run(
        "parrot", "prepare", "--source", "conversations", "--output", "artifacts/prepared/sft/conversations",
        "--metrics", "metrics/prepare/conversations.json",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda p: p.set_params({"sft.learnin_rate": 1.0}), "sft.learnin_rate: unknown key"),
        (lambda p: p.set_params({"threads": "two"}), "threads: Input should be a valid integer"),
        (lambda p: (p.folder / "data/conversations/en.json").write_text("[{"), "conversations/en.json"),
        (lambda p: (p.folder / "data/conversations/images.zip").unlink(), "images.zip"),
    ],
    ids=["unknown key", "mistyped key", "broken JSON", "missing archive"],
)
def test_bad_input_gets_a_sentence(
    make_project: Callable[[], Project],
    break_it: Callable[[Project], object],
    sentence: str,
) -> None:
    project = make_project()
    break_it(project)
    done = prepare(project)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_data_gets_a_sentence(make_project: Callable[[], Project]) -> None:
    project = make_project()
    (project.folder / "data").rename(project.folder / "elsewhere")
    done = prepare(project)
    assert done.returncode == 1
    assert "parrot data" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_dvc_trains_on_two_ranks_under_zero_with_one_run_in_mlflow(finished: Project) -> None:
    """Both stages; stage one by ZeRO-2, stage two by ZeRO-3."""
    file = finished.folder / "params.yaml"
    before, earlier = file.read_text(encoding="utf-8"), runs(finished)
    for stage, zero in (("align", 2), ("sft", 3)):
        section = f"{stage}.training"
        deepspeed = f"parrot/training/deepspeed/zero{zero}.json"
        launch = {"processes": 2}
        finished.set_params({f"{section}.optimizer": "adamw", f"{section}.deepspeed": deepspeed})
        finished.set_params({f"{section}.batch_size": 2, f"{section}.launch": launch})
    try:
        done = finished.repro("-s", "align", "sft")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert "4 steps of 4 samples (2 ranks × 2 × accumulation 1)" in done.stdout + done.stderr
        new = runs(finished)[len(earlier) :]
        assert sorted((name, status) for name, status, parent in new if parent) == [
            ("align", "FINISHED"),
            ("sft", "FINISHED"),
        ]
        assert read(finished, "sft")["steps"] == 4
        (left,) = (finished.folder / ".parrot/checkpoints").glob("*")  # the next stage removes it
        assert left.name.startswith("sft-") and (left / ENDED).exists()
        assert load_file(finished.folder / "artifacts/sft/model.safetensors")
    finally:
        file.write_text(before, encoding="utf-8")
        assert finished.repro("-s", "align", "sft").returncode == 0  # out of DVC's cache
