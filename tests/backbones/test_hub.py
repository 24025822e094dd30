"""What is fetched from the Hub: safetensors if there are any, else what `weights_only` can read."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from parrot.backbones import hub
from parrot.backbones.fit import fit
from parrot.backbones.hub import fetch
from parrot.errors import ParrotError


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository; what matches the asked patterns is copied to a cache, as the Hub's client does."""
    published = tmp_path / "published"
    published.mkdir()
    (published / "config.json").write_text("{}")

    def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert (name, revision) == ("someone/model", "abc")
        (tmp_path / "cache").mkdir(exist_ok=True)
        for pattern in allow_patterns:
            for file in published.glob(pattern):
                shutil.copy(file, tmp_path / "cache")
        return str(tmp_path / "cache")

    monkeypatch.setattr(hub, "snapshot_download", download)
    return published


@pytest.mark.parametrize(
    ("files", "fetched"),
    [
        (["model.safetensors", "pytorch_model.bin"], {"model.safetensors"}),
        (["pytorch_model.bin", "modeling_evil.py"], {"pytorch_model.bin"}),
        (
            ["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"],
            {"pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"},
        ),
    ],
)
def test_which_files_are_fetched(repository: Path, files: list[str], fetched: set[str]) -> None:
    for name in files:
        (repository / name).touch()
    folder = fetch("someone/model", "abc")
    assert {file.name for file in folder.iterdir()} == {"config.json", *fetched}


def test_a_repository_without_weights_is_refused(repository: Path) -> None:
    (repository / "model.onnx").touch()
    with pytest.raises(ParrotError, match=r"someone/model: no weights, neither \*\.safetensors nor"):
        fetch("someone/model", "abc")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RevisionNotFoundError, "'someone/model' at revision 'abc': no such revision"),
        (RepositoryNotFoundError, "neither a folder nor a repository"),
        (OSError, "could not be downloaded"),
    ],
)
def test_what_cannot_be_fetched_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Any, message: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> str:
        raise error.__new__(error)

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(ParrotError, match=message):
        fetch("someone/model", "abc")


def test_nothing_is_overwritten_and_a_folder_has_no_revision(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ParrotError, match="is not empty"):
        fit("someone/model", None, tmp_path)
    with pytest.raises(ParrotError, match="a revision belongs to a name on the Hub"):
        fit(str(tmp_path), "abc", tmp_path / "new")
