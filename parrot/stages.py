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
    """A stage's function as `module:name`, what it is for, its keyword arguments, and the paths it takes."""

    function: str
    purpose: str
    choices: Callable[[Params], dict[str, Any]]
    paths: dict[str, str]
    """Name -> what is read or written there."""
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
        "examples.picture_world.backbones.train_vision:make_vision_tower",
        "Takes a vision tower from the Hub or a folder, or trains a small one.",
        lambda params: {"params": params.backbones.vision, "seed": params.seed},
        {
            "data": "folder with images.zip and region_descriptions.json; unused for a pretrained tower",
            "output": "folder to write: the tower and its image processor",
            "curve": "CSV to write: the loss as it fell",
            "metrics": "JSON to write: how well it sees",
        },
        trains=True,
    ),
    "backbones-language": Stage(
        "examples.picture_world.backbones.train_language:make_language_model",
        "Takes a language model from the Hub or a folder, or trains a small one.",
        lambda params: {"params": params.backbones.language, "seed": params.seed},
        {
            "data": "JSON lines with reading documents; unused for a pretrained model",
            "output": "folder to write: the language model and its tokenizer",
            "curve": "CSV to write: the loss as it fell",
            "metrics": "JSON to write: how well it reads",
        },
        trains=True,
    ),
    "prepare": Stage(
        "parrot.data.prepare:prepare",
        "Makes one record schema of all upstream formats, and fits every record to the model.",
        lambda params: {
            "params": params.prepare.in_languages(params.languages),
            "model_params": params.model,
            "image_sides": (params.validate_.min_image_pixels, params.validate_.max_image_pixels),
            "seed": params.seed,
        },
        {
            "vision": "folder of the vision tower, whose pictures take positions",
            "language": "folder of the language model, whose tokenizer counts them",
            "output": "folder to write: records as Parquet, and a table of what was rejected",
            "metrics": "JSON to write: counts of records, languages, sources and rejects",
        },
    ),
    "validate": Stage(
        "parrot.validation.validate:validate",
        "Holds the records to a contract and expectations; nothing is trained without its stamp.",
        lambda params: {
            "params": params.validate_,
            "languages": params.languages,
            "max_length": params.model.max_length,
        },
        {
            "prepared": "folder of records, as `prepare` writes it",
            "reports": "folder to write: what was expected and what was found, as pages",
            "metrics": "JSON to write: how many expectations held",
            "stamp": "JSON to write if all of them hold",
        },
    ),
    "align": Stage(
        "parrot.training.stages:align",
        "Stage one: trains what joins the two backbones, and nothing else.",
        lambda params: {"params": params.align, "model_params": params.model, "seed": params.seed},
        {
            "vision": "folder of the vision tower",
            "language": "folder of the language model",
            "records": "folder of the records to train on",
            "output": "folder to write: the weights of what joins the backbones",
            "curve": "CSV to write: the loss as it fell",
            "metrics": "JSON to write: steps and last loss",
        },
        trains=True,
    ),
    "sft": Stage(
        "parrot.training.stages:sft",
        "Stage two: trains what joins the backbones, experts included, and the language model.",
        lambda params: {"params": params.sft, "model_params": params.model, "seed": params.seed},
        {
            "vision": "folder of the vision tower",
            "language": "folder of the language model",
            "aligned": "folder that `align` wrote",
            "records": "folder of the records to train on",
            "output": "folder to write: the whole model and its processor",
            "curve": "CSV to write: the loss as it fell",
            "metrics": "JSON to write: steps and last loss",
        },
        trains=True,
    ),
    "evaluate": Stage(
        "parrot.evaluation.evaluate:evaluate",
        "Asks the model the benchmark's questions in every language, seeing and blind.",
        lambda params: {"params": params.evaluate, "languages": params.languages, "seed": params.seed},
        {
            "model_dir": "folder of the model",
            "metrics": "JSON to write: accuracies and their intervals",
            "reports": "folder to write: every answer, settings, and a page to look at",
            "plots": "folder to write: accuracies by language and category, as tables and pictures",
        },
        resumes=True,
    ),
    "package": Stage(
        "parrot.publishing.package:package",
        "Makes a folder that can go to the Hub, and proves that it loads back.",
        lambda params: {
            "params": params.package,
            "evaluate": params.evaluate,
            "backbones": params.backbones,
            "languages": params.languages,
        },
        {
            "model": "folder of the model, as `sft` writes it",
            "evaluation": "JSON that `evaluate` wrote as metrics",
            "prepared": "JSON that `prepare` wrote as metrics",
            "validation": "the stamp that `validate` wrote",
            "output": "folder to write: weights, processor, code, card, licence and lineage",
        },
    ),
}
