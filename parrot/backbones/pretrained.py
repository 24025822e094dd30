"""A pretrained model in a folder: what it is, its configuration and its weights. Its code is never run."""

import pickle
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from parrot.backbones.hub import sentence
from parrot.errors import ParrotError

TOWERS = ("clip", "clip_vision_model", "siglip", "siglip_vision_model")

Kind = Literal["vision", "language"]


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


def _config(folder: Path) -> PreTrainedConfig:
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ParrotError(
            f"{folder}/config.json: no configuration of transformers: {sentence(error)}"
        ) from None
    return config
