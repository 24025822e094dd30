"""`data/` is made when it cannot be fetched, verified, and never overwritten."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from parrot.errors import ParrotError
from parrot.pipeline.data_versions import provide_data, record_data

MAKER = """
from pathlib import Path
Path("data/below").mkdir(parents=True)
Path("data/README.md").write_text(Path("version").read_text())
Path("data/below/same").write_text("same")
"""
MAKE = "python make_data.py"


def dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True)


def project(folder: Path) -> Path:
    """A project whose data are made by a script from one file."""
    dvc("init", "--no-scm", "-q")
    (folder / "make_data.py").write_text(MAKER)
    (folder / "version").write_text("1")
    return folder


def rewrite(version: str) -> None:
    """What the command of an example does that makes its data anew."""
    Path("version").write_text(version)
    shutil.rmtree("data", ignore_errors=True)
    subprocess.run([sys.executable, "make_data.py"], check=True)
    record_data(MAKE)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        project(folder)
        dvc("remote", "add", "-d", "local", str(folder / "remote"))
        rewrite("1")
    return folder


@pytest.fixture
def clone(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What git has of it: no data, no cache, and no remote within reach."""
    monkeypatch.chdir(tmp_path)
    project(tmp_path)
    shutil.copy(written / "data.dvc", tmp_path)
    return tmp_path


def test_data_dvc_names_the_command_and_dvc_keeps_it(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(written)
    assert yaml.safe_load((written / "data.dvc").read_text())["meta"] == {"make": MAKE}
    (written / "data/below/same").write_text("another")
    dvc("add", "-q", "data")
    named = yaml.safe_load((written / "data.dvc").read_text())
    assert named["meta"] == {"make": MAKE}
    rewrite("1")
    again = yaml.safe_load((written / "data.dvc").read_text())
    assert again["outs"] != named["outs"] and again["meta"] == {"make": MAKE}


def test_another_command_and_other_notes(clone: Path) -> None:
    rewrite("1")
    tree = yaml.safe_load((clone / "data.dvc").read_text())
    (clone / "data.dvc").write_text(yaml.safe_dump({**tree, "meta": {"note": "mine", "make": "true"}}))
    record_data(MAKE)
    assert yaml.safe_load((clone / "data.dvc").read_text()) == {
        **tree,
        "meta": {"note": "mine", "make": MAKE},
    }


def test_a_clone_without_a_remote_makes_what_data_dvc_names(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    provide_data()
    assert "made and verified" in capsys.readouterr().out
    provide_data()
    assert "is what data.dvc names" in capsys.readouterr().out

    (clone / "data/README.md").write_text("mine")
    with pytest.raises(ParrotError, match=r"data/ is not what data\.dvc names"):
        provide_data()
    assert (clone / "data/README.md").read_text() == "mine"

    shutil.rmtree(clone / "data")
    provide_data()
    assert "fetched" in capsys.readouterr().out, "DVC's cache has it"

    shutil.rmtree(clone / "data")
    shutil.rmtree(clone / ".dvc/cache")
    (clone / "version").write_text("2")
    with pytest.raises(ParrotError, match=rf"what `{MAKE}` makes differs from data\.dvc"):
        provide_data()


def test_a_remote_is_asked_first(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(written)
    dvc("push", "-q")
    shutil.rmtree(written / "data")
    shutil.rmtree(written / ".dvc/cache")
    provide_data()
    assert "fetched from the DVC remote" in capsys.readouterr().out
    assert (written / "data/below/same").is_file()


def test_data_of_an_earlier_data_dvc_is_replaced_if_untouched(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite("2")
    pointer = (clone / "data.dvc").read_text()
    rewrite("1")
    (clone / "data.dvc").write_text(pointer)  # as `git pull` does
    provide_data()
    assert "earlier data.dvc: replacing it" in capsys.readouterr().out
    assert (clone / "data/README.md").read_text() == "2"

    rewrite("1")
    (clone / "data/README.md").write_text("mine")
    (clone / "data.dvc").write_text(pointer)
    with pytest.raises(ParrotError, match="is not what"):
        provide_data()
    assert (clone / "data/README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({}, r"data\.dvc names no command that makes it \(meta: make\)"),
        ({"meta": "mine"}, r"names no command that makes it"),
        ({"meta": {"make": "exit 3"}}, r"data\.dvc: `exit 3` ended with status 3"),
        ({"meta": {"make": "true"}}, r"data\.dvc: `true` wrote no data/"),
    ],
)
def test_data_that_nothing_makes(clone: Path, meta: dict[str, object], message: str) -> None:
    tree = yaml.safe_load((clone / "data.dvc").read_text())
    (clone / "data.dvc").write_text(yaml.safe_dump({"outs": tree["outs"], **meta}))
    with pytest.raises(ParrotError, match=message):
        provide_data()
    assert not (clone / "data").exists()


def test_python_is_this_one_also_where_none_is_activated(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (clone / "make_data.py").write_text(f"import yaml\n{MAKER}")  # which only this one may have
    provide_data()
    assert (clone / "data/below/same").is_file()


def test_without_data_dvc_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParrotError, match=r"data.dvc is missing"):
        provide_data()
    assert not (tmp_path / "data").exists()
