"""Backbones that exist already: a folder, or a Hub repository at a pinned commit, read without its code."""

import json
import pickle
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.errors import RevisionNotFoundError as HubRevisionNotFoundError
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from parrot.errors import ParrotError

SMALL = ["*.json", "*.txt", "*.model", "*.jinja"]
WEIGHTS = ["*.safetensors"]
PICKLED = ["pytorch_model*.bin"]
"""Read with `weights_only=True`, and only where nothing else is published."""
TOWERS = ("clip", "clip_vision_model", "siglip", "siglip_vision_model")

Kind = Literal["vision", "language"]


def fetch(pretrained: str, revision: str | None) -> Path:
    """The local folder of `pretrained`, downloaded at `revision` if need be.

    Raises:
        ParrotError: repository or commit do not exist, the Hub cannot be reached, there are no
            weights, or the repository brings code of its own.
    """
    folder = Path(pretrained)
    if not folder.is_dir():
        folder = _download(pretrained, revision, SMALL + WEIGHTS)
        if not _weights(folder, WEIGHTS):
            folder = _download(pretrained, revision, SMALL + PICKLED)
    if not (folder / "config.json").is_file():
        raise ParrotError(f"{pretrained}: no config.json, so no model of transformers")
    if not _weights(folder, WEIGHTS + PICKLED):
        raise ParrotError(f"{pretrained}: no weights, neither *.safetensors nor pytorch_model.bin")
    _refuse_code(folder, pretrained)
    return folder


def config_of(folder: Path, kind: Kind) -> PreTrainedConfig:
    """The configuration of a tower ("vision") or a causal language model ("language").

    Raises:
        ParrotError: it is something else; says what.
    """
    found = kind_of(folder)
    if found != kind:
        names = {"vision": "a vision tower", "language": "a language model"}
        raise ParrotError(f"{folder} is {names[found]}, where {names[kind]} is needed")
    return _config(folder)


def kind_of(folder: Path) -> Kind:
    """What `folder` holds, by its config.json.

    Raises:
        ParrotError: neither a tower that is supported nor a causal language model.
    """
    config = _config(folder)
    if config.model_type in TOWERS:
        return "vision"
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not hasattr(config, "vision_config"):
        return "language"
    raise ParrotError(
        f"{folder}: '{config.model_type}' is neither a causal language model of transformers nor a tower "
        f"of CLIP or SigLIP"
    )


def load(folder: Path, model_class: Any) -> Any:
    """A model in the precision in which its weights are published; none of them may be missing.

    Raises:
        ParrotError: the weights cannot be read, or are not all there.
    """
    try:
        model, info = model_class.from_pretrained(
            folder, dtype="auto", trust_remote_code=False, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError, EOFError,
            pickle.UnpicklingError, SafetensorError) as error:  # fmt: skip
        raise ParrotError(f"{folder}: the weights cannot be read: {sentence(error)}") from None
    if missing := sorted(info["missing_keys"]):
        raise ParrotError(
            f"{folder}: {len(missing)} weights of {type(model).__name__} are missing, such as {missing[0]}: "
            f"they would begin at random"
        )
    return model


def sentence(error: BaseException) -> str:
    """What an error of a library says, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _config(folder: Path) -> PreTrainedConfig:
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ParrotError(
            f"{folder}/config.json: no configuration of transformers: {sentence(error)}"
        ) from None
    return config


def _download(pretrained: str, revision: str | None, patterns: list[str]) -> Path:
    name = f"'{pretrained}'" + (f" at revision '{revision}'" if revision else "")
    try:
        return Path(snapshot_download(pretrained, revision=revision, allow_patterns=patterns))
    except HubRevisionNotFoundError:
        raise ParrotError(f"{name}: no such revision on the Hub") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ParrotError(f"{name}: neither a folder nor a repository on the Hub") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ParrotError(
            f"{name}: there is no such folder, and from the Hub it could not be downloaded: {sentence(error)}"
        ) from None


def _weights(folder: Path, patterns: list[str]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _refuse_code(folder: Path, name: str) -> None:
    """No question is asked: code from a repository is never run."""
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
            known = tree.get("model_type") in CONFIG_MAPPING
            remedy = (
                f"transformers knows '{tree['model_type']}' itself: take auto_map out of a copy of the folder"
                if known
                else "take a model that transformers knows itself"
            )
            raise ParrotError(
                f"{name}: it brings code of its own ({file}: auto_map), which is never run; {remedy}"
            )
