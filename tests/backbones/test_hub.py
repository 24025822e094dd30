"""What is fetched from the Hub: safetensors if there are any, else what `weights_only` can read."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import filter_repo_objects

from parrot.backbones import hub
from parrot.backbones.fit import fit
from parrot.backbones.hub import download, fetch
from parrot.config import HubModel
from parrot.errors import ParrotError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = {"language": HubModel(repo="someone/model", revision=COMMIT)}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository; what is asked for is put into a cache as the Hub's client does it: as links."""
    published, cache = tmp_path / "published", tmp_path / "cache"
    published.mkdir()
    (published / "config.json").write_text("{}")

    def download(
        name: str, *, revision: str | None, allow_patterns: list[str], ignore_patterns: list[str]
    ) -> str:
        assert (name, revision) == ("someone/model", COMMIT)
        cache.mkdir(exist_ok=True)
        names = [str(file.relative_to(published)) for file in published.rglob("*") if file.is_file()]
        for file in filter_repo_objects(
            names, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        ):
            (cache / file).parent.mkdir(parents=True, exist_ok=True)
            if not (cache / file).exists():
                (cache / file).symlink_to(published / file)
        return str(cache)

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
        (
            ["model-00001-of-00001.safetensors", "consolidated.safetensors", "tokenizer.model", "README.md"],
            {"model-00001-of-00001.safetensors", "tokenizer.model"},
        ),
        (["model.safetensors", "onnx/model.json", "original/model.safetensors"], {"model.safetensors"}),
    ],
)
def test_which_files_are_fetched(
    repository: Path, tmp_path: Path, files: list[str], fetched: set[str]
) -> None:
    for name in files:
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).touch()
    folder = fetch("someone/model", COMMIT)
    assert {file.name for file in folder.iterdir()} == {"config.json", *fetched}
    for name in ("LICENSE", "flax_model.msgpack", "modeling_evil.py"):  # what others asked for
        (folder / name).touch()
    download(HUB, name="language", output=tmp_path / "hub/language")
    made = list((tmp_path / "hub/language").iterdir())
    assert {file.name for file in made} == {"config.json", *fetched}
    assert not any(file.is_symlink() for file in made)


def test_a_download_stays_when_the_cache_is_emptied(repository: Path, tmp_path: Path) -> None:
    (repository / "model.safetensors").write_bytes(b"weights")
    measured = download(HUB, name="language", output=tmp_path / "hub")
    assert measured == {"repo": "someone/model", "revision": COMMIT, "bytes": 9}
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(repository)
    assert fetch(str(tmp_path / "hub"), None) == tmp_path / "hub"
    assert (tmp_path / "hub/model.safetensors").read_bytes() == b"weights"


def test_the_hub_is_asked_though_a_folder_has_that_name(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "model.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone/model").mkdir(parents=True)
    download(HUB, name="language", output=tmp_path / "hub")
    assert (tmp_path / "hub/model.safetensors").is_file()


def test_a_model_that_is_not_named_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match="hub: no model 'vision'; known here: language"):
        download(HUB, name="vision", output=tmp_path / "hub")


def test_code_is_refused_before_weights_are_fetched(repository: Path, tmp_path: Path) -> None:
    (repository / "model.safetensors").touch()
    (repository / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}')
    with pytest.raises(ParrotError, match=r"someone/model: it brings code of its own .*never run"):
        download(HUB, name="language", output=tmp_path / "hub")
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["config.json"]
    assert not (tmp_path / "hub").exists()


def test_a_download_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys, parrot.backbones.hub; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_repository_without_weights_is_refused(repository: Path) -> None:
    (repository / "model.onnx").touch()
    with pytest.raises(ParrotError, match=r"someone/model: no weights, neither model.safetensors nor"):
        fetch("someone/model", COMMIT)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RevisionNotFoundError, "'someone/model' at revision 'abc': no such revision"),
        (RepositoryNotFoundError, "neither a folder nor a repository"),
        (GatedRepoError, "its publisher asks for consent; .*`hf auth login`"),
        (LocalEntryNotFoundError, "could not be downloaded"),
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
