"""`data/` is made when it cannot be fetched, verified, and never overwritten."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parrot.config import World
from parrot.errors import ParrotError
from parrot.pipeline.data_versions import provide_data, rewrite_data

WORLD = World(
    seed=1,
    backbone_pictures=4,
    reading_documents=6,
    align_captions=6,
    align_questions=6,
    sft_pictures=6,
    text_instructions=2,
    questions_per_category=1,
)


def dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        dvc("init", "--no-scm", "-q")
        dvc("remote", "add", "-d", "local", str(folder / "remote"))
        rewrite_data(WORLD)
    return folder


def test_a_clone_without_a_remote_makes_what_data_dvc_names(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    dvc("init", "--no-scm", "-q")
    shutil.copy(written / "data.dvc", tmp_path)
    provide_data(WORLD)
    assert "made and verified" in capsys.readouterr().out
    provide_data(WORLD)
    assert "is what data.dvc names" in capsys.readouterr().out

    (tmp_path / "data/README.md").write_text("mine")
    with pytest.raises(ParrotError, match=r"data/ is not what data\.dvc names"):
        provide_data(WORLD)
    assert (tmp_path / "data/README.md").read_text() == "mine"

    shutil.rmtree(tmp_path / "data")
    provide_data(WORLD)
    assert "fetched" in capsys.readouterr().out, "DVC's cache has it"

    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(tmp_path / ".dvc/cache")
    with pytest.raises(ParrotError, match=r"makes differs from data\.dvc"):
        provide_data(WORLD.model_copy(update={"seed": 2}))


def test_a_remote_is_asked_first(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(written)
    dvc("push", "-q")
    shutil.rmtree(written / "data")
    shutil.rmtree(written / ".dvc/cache")
    provide_data(WORLD)
    assert "fetched from the DVC remote" in capsys.readouterr().out
    assert (written / "data/mmmb/test/mmmb_en.tsv").is_file()


def test_data_of_an_earlier_data_dvc_is_replaced_if_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    dvc("init", "--no-scm", "-q")
    newer = WORLD.model_copy(update={"seed": 2})
    rewrite_data(newer)
    pointer = (tmp_path / "data.dvc").read_text()
    rewrite_data(WORLD)
    (tmp_path / "data.dvc").write_text(pointer)  # as `git pull` does
    provide_data(newer)
    assert "earlier data.dvc: replacing it" in capsys.readouterr().out

    rewrite_data(WORLD)
    (tmp_path / "data/README.md").write_text("mine")
    (tmp_path / "data.dvc").write_text(pointer)
    with pytest.raises(ParrotError, match="is not what"):
        provide_data(newer)
    assert (tmp_path / "data/README.md").read_text() == "mine"


def test_without_data_dvc_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParrotError, match=r"data.dvc is missing"):
        provide_data(WORLD)
    assert not (tmp_path / "data").exists()
