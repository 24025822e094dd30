"""The project unpacked from an archive: DVC works, and git comes back when there is one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parrot.pipeline.data_versions import work_without_git

ROOT = Path(__file__).parents[2]


def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that DVC needs, as git has them."""
    (tmp_path / ".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "source").write_text("1")
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: cp source a, deps: [source], outs: [a]}}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_git_dvc_works_and_it_is_said_once(
    unpacked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is not a git repository" in dvc("repro").stderr
    work_without_git()
    said = capsys.readouterr().out
    assert "git init && git add --all && git commit" in said
    done = dvc("repro")
    assert done.returncode == 0, done.stderr
    work_without_git()
    assert capsys.readouterr().out == ""
    shutil.rmtree(unpacked / ".dvc/tmp")
    subprocess.run(["git", "init", "-q"], check=True)
    assert "`dvc config --local --unset core.no_scm`" in said
    assert dvc("config", "--local", "--unset", "core.no_scm").returncode == 0
    assert dvc("status").returncode == 0


def test_with_git_or_without_dvc_nothing_is_changed(
    unpacked: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    work_without_git()
    below = unpacked / "below"
    shutil.copytree(unpacked / ".dvc", below / ".dvc")
    monkeypatch.chdir(below)
    work_without_git()
    monkeypatch.chdir("/")
    work_without_git()
    assert not list(unpacked.rglob("config.local"))
    assert capsys.readouterr().out == ""
