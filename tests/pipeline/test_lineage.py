"""From the published card alone back to the same weights, byte for byte."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import Project

pytestmark = pytest.mark.slow

IGNORED = "/artifacts/\n/data/\n/mlruns/\n/mlflow.db\n/.parrot/\n__pycache__/\n*.partial-*\n"


def call(project: Project, command: str) -> str:
    done = project.run(*command.split())
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout


def commit(project: Project, message: str) -> None:
    call(project, "git add --all")
    done = project.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", message)
    assert done.returncode == 0, done.stdout + done.stderr


def model_files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "artifacts/sft").iterdir() if file.is_file()}


def test_a_card_leads_back_to_the_same_weights(make_project: Callable[[], Project], tmp_path: Path) -> None:
    made = make_project()
    # A repository from the first commit on: DVC was set up without git.
    call(made, "dvc config core.no_scm false")
    (made.folder / ".gitignore").write_text(IGNORED)
    (made.folder / ".dvc/.gitignore").write_text("/cache\n/tmp\n/config.local\n")
    call(made, "git init -q")
    call(made, f"dvc remote add -q -d shared {tmp_path / 'remote'}")
    commit(made, "code, parameters, and which data")
    call(made, "dvc push -q data.dvc")
    call(made, "dvc repro -q")
    published = tmp_path / "published"
    published.mkdir()
    shutil.copy(made.folder / "artifacts/package/lineage.json", published)
    commit(made, "what came of it")
    (made.folder / "params.yaml").write_text("later: {}\n")
    commit(made, "another day")

    clone = Project(tmp_path / "clone")
    subprocess.run(["git", "clone", "-q", made.folder, clone.folder], check=True, env=os.environ)
    found = json.loads(call(clone, f"parrot lineage --json {published}"))
    assert {item["where"] for item in found["chain"] if not item["stage"]} == {"remote"}
    assert any("MLflow" in sentence for sentence in found["missing"])
    for command in found["rebuild"]:
        call(clone, command)
    ours, theirs = model_files(clone.folder), model_files(made.folder)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert clone.lock()["sft"]["outs"][0]["md5"] == found["weights"]
