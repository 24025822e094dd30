"""What a person does with a clone before and after the pipeline: share, look, clean up."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that git tracks, in a repository of their own."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: nothing says which files are the project's")
    folder = tmp_path / "clone"
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    run(folder, "git", "init", "--quiet")
    commit(folder)
    return folder


def run(folder: Path, *command: str) -> str:
    home = folder.parent / "home"
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"HOME": str(home)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc(folder: Path, *arguments: str) -> str:
    return run(folder, sys.executable, "-m", "dvc", *arguments)


def commit(folder: Path) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "all")


def test_a_second_clone_pulls_what_the_first_one_pushed(clone: Path) -> None:
    (clone / "data").mkdir()
    (clone / "data" / "a.txt").write_text("mine")
    dvc(clone, "add", "--quiet", "data")
    commit(clone)
    dvc(clone, "push", "--quiet", "data.dvc")
    second = clone.parent / "elsewhere" / "second"
    run(clone, "git", "clone", "--quiet", str(clone), str(second))
    (second.parent / "home").symlink_to(clone.parent / "home")
    dvc(second, "pull", "--quiet", "data.dvc")
    assert (second / "data" / "a.txt").read_text() == "mine"


def test_plots_load_nothing_from_the_web(clone: Path) -> None:
    dvc(clone, "plots", "show")
    page = (clone / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    assert "vegaEmbed" in page
    assert not re.search(r"<(script|link|img)\b[^>]*https?://", page)
    assert run(clone, "git", "status", "--porcelain") == ""


def test_make_clean_leaves_what_git_tracks(clone: Path) -> None:
    for name in ("artifacts/a", "reports/a", "mlruns/a", "mlflow.db"):
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).touch()
    run(clone, "make", "clean")
    assert run(clone, "git", "status", "--porcelain", "--ignored") == ""


def test_lock_leaves_the_libraries_of_cuda_to_the_build_of_torch() -> None:
    lines = (PROJECT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[=\s;]", line)[0] for line in lines}
    assert {"torch", "transformers", "dvc", "mlflow", "prefect"} <= names
    assert not [name for name in names if name.startswith(("nvidia-", "cuda-", "triton"))]
    (deepspeed,) = [line for line in lines if line.startswith("deepspeed")]
    assert deepspeed.endswith("; sys_platform == 'linux'")
