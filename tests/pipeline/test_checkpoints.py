"""What a killed stage had done is found again, unless what made it has changed."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import Project

from parrot.pipeline import checkpoints
from parrot.pipeline.checkpoints import ENDED, MADE_BY, close_checkpoints, open_checkpoints, remove_recorded


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`opened(params)`: the folder for them, in a project with an input and a module."""
    monkeypatch.chdir(tmp_path)
    Path("records").mkdir()
    Path("records/0.parquet").write_text("records")
    Path("code").mkdir()
    Path("code/train.py").write_text("rate = 1")

    def open_them(params: dict[str, object]) -> Path:
        return open_checkpoints("sft", [Path("records")], params, [Path("code")])

    return open_them


def test_a_checkpoint_of_the_same_run_stays(opened, capsys: pytest.CaptureFixture[str]) -> None:
    folder = opened({"sft": 1})
    (folder / "checkpoint-5").mkdir()
    Path("code/__pycache__").mkdir()
    Path("code/__pycache__/train.pyc").write_text("compiled")
    assert opened({"sft": 1}) == folder
    assert (folder / "checkpoint-5").exists()
    assert capsys.readouterr().err == ""
    assert opened({"sft": 2}) != folder
    assert (folder / "checkpoint-5").exists()
    capsys.readouterr()
    Path("records/0.parquet").write_text("other records")
    assert opened({"sft": 1}) != folder
    assert capsys.readouterr().err == ""


def test_other_parameters_begin_anew_and_say_where_the_others_lie(
    opened, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = {"processes": 2, "hostfile": None}
    folder = opened({"sft": {"rate": 1, "launch": launch}})
    opened({"sft": {"rate": 1, "launch": {**launch, "processes": 4}}})
    assert capsys.readouterr().err == (
        f"parrot sft: begins anew and does not go on in {folder}, which was made with "
        f"sft.launch.processes 2 (now 4); set that back to go on there, or remove the folder\n"
    )
    assert opened({"sft": {"rate": 1, "launch": launch}}) == folder
    assert capsys.readouterr().err == ""


def test_checkpoints_of_an_ended_stage_stay_until_dvc_has_noted_it(opened) -> None:
    by_hand, ended, other = (opened({"sft": rate}) for rate in range(3))
    close_checkpoints(by_hand, None)
    assert not by_hand.exists()
    Path("dvc.lock").write_text("before")
    time.sleep(0.05)
    close_checkpoints(ended, "sft")
    close_checkpoints(other, "part/dvc.yaml:sft")
    remove_recorded()  # DVC was killed; the stage runs again, and finds what it had done
    assert opened({"sft": 1}) == ended and (ended / MADE_BY).exists()
    time.sleep(0.05)
    Path("dvc.lock").write_text("with sft")
    remove_recorded()
    assert not ended.exists() and other.exists()


def test_a_stage_that_is_killed_while_it_removes_its_folder_leaves_no_half_of_it(
    opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = opened({})
    (folder / "checkpoint-5").mkdir()

    def killed(path: Path, ignore_errors: bool) -> None:
        if Path(path).exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints.shutil, "rmtree", killed)
        close_checkpoints(folder, None)
    assert not folder.exists() and list(folder.parent.iterdir())
    remove_recorded()
    assert not list(folder.parent.iterdir())


def test_other_code_begins_anew_and_says_so(opened, capsys: pytest.CaptureFixture[str]) -> None:
    folder = opened({})
    (folder / "checkpoint-5").mkdir()
    Path("code/train.py").write_text("rate = 2")
    assert opened({}) == folder
    assert not (folder / "checkpoint-5").exists()
    assert "parrot sft: begins anew" in (said := capsys.readouterr().err)
    assert "because the project's code changed since" in said
    opened({})
    assert capsys.readouterr().err == ""


def test_another_library_begins_anew_and_is_named(
    opened, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = opened({})
    (folder / "checkpoint-5").mkdir()
    version = checkpoints.metadata.version
    monkeypatch.setattr(
        checkpoints.metadata, "version", lambda name: "9.9" if name == "torch" else version(name)
    )
    opened({})
    assert not (folder / "checkpoint-5").exists()
    assert f"because torch ({version('torch')}, now 9.9) changed since" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "", "[]", "{"])
def test_a_checkpoint_of_unknown_origin_begins_anew(opened, content: str | None) -> None:
    folder = opened({})
    (folder / "checkpoint-5").mkdir()
    (folder / MADE_BY).unlink()
    if content is not None:
        (folder / MADE_BY).write_text(content)
    opened({})
    assert not (folder / "checkpoint-5").exists()


@pytest.mark.slow
def test_a_training_that_had_ended_when_dvc_was_killed_is_not_repeated(
    make_project: Callable[[], Project],
) -> None:
    project = make_project()
    work = project.folder / ".parrot/checkpoints"
    process = project.start("dvc", "repro", "align")
    while not list(work.glob(f"align-*/{ENDED}")):
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    assert "0/4 [" in process.communicate(timeout=60)[0]
    assert "align" not in project.lock()
    again = project.repro("align")
    assert again.returncode == 0, again.stderr[-3000:]
    assert "4/4 [" in again.stderr and "0/4 [" not in again.stderr
    assert "align" in project.lock()
    assert project.repro("--force", "--single-item", "mix@align").returncode == 0  # any stage
    assert not list(work.glob("align-*"))
