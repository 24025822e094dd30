"""The stages by name: which function, which choices of `params.yaml`, which paths.

The order and the paths' values stand in `dvc.yaml`. A function is named and not imported here,
because each needs other heavy packages.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from parrot.config import Params


@dataclass(frozen=True)
class Stage:
    """A stage's function as `module:name`, its keyword arguments, and the paths it takes."""

    function: str
    choices: Callable[[Params], dict[str, Any]]
    paths: tuple[str, ...]
    trains: bool = False
    """Takes a `run`: a place for checkpoints and a way to report the loss as it falls."""
    resumes: bool = False
    """Takes a `work` folder, where a killed run finds what it had done."""

    def load(self) -> Callable[..., dict[str, Any]]:
        module, name = self.function.split(":")
        function: Callable[..., dict[str, Any]] = getattr(import_module(module), name)
        return function


STAGES: dict[str, Stage] = {
    "backbones-vision": Stage(
        "parrot.backbones.vision:make_vision_tower",
        lambda params: {"params": params.backbones.vision, "seed": params.seed},
        ("data", "output", "curve", "metrics"),
        trains=True,
    ),
    "backbones-language": Stage(
        "parrot.backbones.language:make_language_model",
        lambda params: {"params": params.backbones.language, "seed": params.seed},
        ("data", "output", "curve", "metrics"),
        trains=True,
    ),
    "prepare": Stage(
        "parrot.data.prepare:prepare",
        lambda params: {
            "params": params.prepare,
            "model_params": params.model,
            "image_sides": (params.validate_.min_image_pixels, params.validate_.max_image_pixels),
            "seed": params.seed,
        },
        ("vision", "language", "output", "metrics"),
    ),
    "validate": Stage(
        "parrot.validation.validate:validate",
        lambda params: {
            "params": params.validate_,
            "languages": params.languages,
            "max_length": params.model.max_length,
        },
        ("prepared", "reports", "metrics", "stamp"),
    ),
    "align": Stage(
        "parrot.training.stages:align",
        lambda params: {"params": params.align, "model_params": params.model, "seed": params.seed},
        ("vision", "language", "records", "output", "curve", "metrics"),
        trains=True,
    ),
    "sft": Stage(
        "parrot.training.stages:sft",
        lambda params: {"params": params.sft, "model_params": params.model, "seed": params.seed},
        ("vision", "language", "aligned", "records", "output", "curve", "metrics"),
        trains=True,
    ),
    "evaluate": Stage(
        "parrot.evaluation.evaluate:evaluate",
        lambda params: {"params": params.evaluate, "languages": params.languages, "seed": params.seed},
        ("model_dir", "metrics", "reports", "plots"),
        resumes=True,
    ),
    "package": Stage(
        "parrot.publishing.package:package",
        lambda params: {
            "params": params.package,
            "evaluate": params.evaluate,
            "backbones": params.backbones,
            "languages": params.languages,
        },
        ("model", "evaluation", "prepared", "validation", "output"),
    ),
}
