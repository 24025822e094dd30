"""What a worker has made comes back, also where the same inputs have given something else before."""

import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from parrot.pipeline.travel import give, receive, send, take

STAGE = """
stages:
  train:
    cmd: wc -l < $COUNT > model; echo >> $COUNT; cp model metrics.json
    deps: [source]
    outs: [model]
    metrics: [metrics.json: {cache: false}]
"""


@pytest.fixture
def clones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Of one project, with one DVC remote; each training gives the next number, the first 0."""
    here, worker = tmp_path / "here", tmp_path / "worker"
    here.mkdir()
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    (tmp_path / "count").touch()
    (here / "dvc.yaml").write_text(STAGE)
    (here / "source").write_text("first\n")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run([*git, "init", "--quiet"], cwd=here, check=True)
    Repo.init(str(here)).close()
    with (here / ".dvc/config").open("a") as file:
        file.write(f"[core]\n    remote = shared\n['remote \"shared\"']\n    url = {tmp_path / 'remote'}\n")
    subprocess.run([*git, "add", "--all"], cwd=here, check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "all"], cwd=here, check=True)
    subprocess.run([*git, "clone", "--quiet", str(here), str(worker)], check=True)
    return here, worker


def reproduce(force: bool = False) -> None:
    with Repo() as repo:
        repo.reproduce(targets=["train"], force=force, single_item=True, pull=True)


def test_a_forced_training_is_taken_and_not_the_one_before(
    clones: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, worker = clones
    for number, force in enumerate([False, True, True]):
        monkeypatch.chdir(here)
        send("train")
        monkeypatch.chdir(worker)
        receive("train", "anew" if force else "")
        reproduce(force)
        made = give("train")
        monkeypatch.chdir(here)
        take("train", made)
        assert (here / "model").read_text() == f"{number}\n"
        assert (here / "metrics.json").read_text() == f"{number}\n"
        with Repo() as repo:
            assert repo.status() == {}, "dvc.lock has what was taken"


def test_what_a_cancelled_training_has_removed_is_there_again(
    clones: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, worker = clones
    for again in (False, True):
        monkeypatch.chdir(here)
        send("train")
        monkeypatch.chdir(worker)
        if again:
            for name in ("model", "metrics.json"):  # DVC does, before a stage runs
                (worker / name).unlink()
        receive("train")
        reproduce()
        made = give("train")
        monkeypatch.chdir(here)
        take("train", made)
        for clone in clones:
            assert (clone / "model").read_text() == (clone / "metrics.json").read_text() == "0\n"
