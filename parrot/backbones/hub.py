"""Models as they are published: a repository of the Hub at a pinned commit, or a folder. No torch here."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from parrot.config import HUB, HubModel
from parrot.errors import ParrotError
from parrot.files import atomic_directory

SMALL = ["*.json", "*.txt", "*.model", "*.jinja"]
WEIGHTS = ["model*.safetensors"]
PICKLED = ["pytorch_model*.bin"]
"""Read with `weights_only=True`, and fetched only where nothing else is published."""
SUBFOLDERS = ["*/*"]
"""Hold the same model once more: for other libraries, or as it was trained."""
_NO_WEIGHTS = "no weights, neither model.safetensors nor pytorch_model.bin"


def download(hub: Mapping[str, HubModel], *, name: str, output: Path) -> dict[str, Any]:
    """Download a model of the section `hub`, at its commit; whole, and without code.

    Args:
        name: which model, a key of the section
        output: folder to write: the repository's files that transformers reads

    Returns:
        Repository, commit, and the size of what was downloaded in bytes.

    Raises:
        ParrotError: there is no such model, or it cannot be downloaded; says why.
    """
    if name not in hub:
        raise ParrotError(f"params.yaml: hub: no model '{name}'; known here: {', '.join(hub) or 'none'}")
    model = hub[name]
    folder = _from_hub(model.repo, model.revision)
    size = 0
    with atomic_directory(output) as partial:
        # Copies: in the cache, which may be emptied at any time, they are links.
        for file in sorted(folder.iterdir()):
            if file.is_file() and _is_needed(file, folder):
                size += shutil.copyfile(file, partial / file.name).stat().st_size
    return {"repo": model.repo, "revision": model.revision, "bytes": size}


def fetch(source: str, revision: str | None) -> Path:
    """The local folder of `source`: a folder, or one of the Hub's cache, filled from `revision` if need be.

    Raises:
        ParrotError: repository or commit do not exist, the Hub cannot be reached, there are no
            weights, or the repository brings code of its own.
    """
    folder = Path(source)
    if not folder.is_dir():
        return _from_hub(source, revision)
    _check(folder, source)
    if not _has(folder, WEIGHTS + PICKLED):
        raise ParrotError(f"{source}: {_NO_WEIGHTS}")
    return folder


def configuration_folder(folder: str, hub: Mapping[str, HubModel]) -> Path:
    """Where the `config.json` of a backbone lies: in its folder, or in the Hub's cache, fetched alone.

    Raises:
        ParrotError: it is not there, and cannot be fetched; says which file to put where.
    """
    path = Path(folder)
    model = hub.get(path.name)
    if (path / "config.json").is_file():
        return path
    wanted = f"{path / 'config.json'} is needed and not there"
    if model is None or path.parent != Path(HUB):
        raise ParrotError(f"{wanted}: run the stage that makes the folder")
    try:
        return _snapshot(model.repo, model.revision, ["config.json"])
    except ParrotError as error:
        raise ParrotError(f"{wanted}: put that of {model.repo} there; {error}") from None


def sentence(error: BaseException) -> str:
    """What an error of a library says, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _from_hub(repo: str, revision: str | None) -> Path:
    _check(_snapshot(repo, revision, SMALL), repo)  # before gigabytes are fetched in vain
    for weights in (WEIGHTS, PICKLED):
        folder = _snapshot(repo, revision, SMALL + weights)
        if _has(folder, weights):
            return folder
    raise ParrotError(f"{repo}: {_NO_WEIGHTS}")


def _snapshot(repo: str, revision: str | None, patterns: list[str]) -> Path:
    name = f"'{repo}'" + (f" at revision '{revision}'" if revision else "")
    try:
        return Path(
            snapshot_download(repo, revision=revision, allow_patterns=patterns, ignore_patterns=SUBFOLDERS)
        )
    except RevisionNotFoundError:
        raise ParrotError(f"{name}: no such revision on the Hub") from None
    except GatedRepoError:  # a kind of RepositoryNotFoundError
        raise ParrotError(
            f"{name}: its publisher asks for consent; give it on the model's page, then log in with "
            f"`hf auth login`"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ParrotError(
            f"{name}: neither a folder nor a repository on the Hub, or a private one (`hf auth login`)"
        ) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ParrotError(
            f"{name}: there is no such folder, and from the Hub it could not be downloaded: {sentence(error)}"
        ) from None


def _is_needed(file: Path, folder: Path) -> bool:
    """Whether a file of the cache is one that `fetch` asked for: others may have asked for more."""
    weights = WEIGHTS if _has(folder, WEIGHTS) else PICKLED
    return any(file.match(pattern) for pattern in SMALL + weights)


def _has(folder: Path, patterns: list[str]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _check(folder: Path, name: str) -> None:
    """Refuse what is no model of transformers, or brings code: it is never run, and no question is asked."""
    if not (folder / "config.json").is_file():
        raise ParrotError(f"{name}: no config.json, so no model of transformers")
    for file in ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json"):
        try:
            tree = json.loads((folder / file).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except ValueError as error:
            raise ParrotError(f"{name}: {file} is not JSON: {error}") from None
        if not isinstance(tree, dict):
            raise ParrotError(f"{name}: {file} holds no object")
        if tree.get("auto_map"):
            from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # imports torch

            known = tree.get("model_type") in CONFIG_MAPPING
            remedy = (
                f"transformers knows '{tree['model_type']}' itself: take auto_map out of a copy of the folder"
                if known
                else "take a model that transformers knows itself"
            )
            raise ParrotError(
                f"{name}: it brings code of its own ({file}: auto_map), which is never run; {remedy}"
            )
