"""Parrot as a model of transformers; importing this registers it with the Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from .building import add_moe, build_parrot
from .configuration_parrot import ParrotConfig
from .modeling_parrot import ParrotForConditionalGeneration, ParrotModel
from .processing_parrot import ParrotProcessor

AutoConfig.register("parrot", ParrotConfig)
AutoModel.register(ParrotConfig, ParrotModel)
AutoModelForImageTextToText.register(ParrotConfig, ParrotForConditionalGeneration)
AutoProcessor.register(ParrotConfig, ParrotProcessor)

__all__ = [
    "ParrotConfig",
    "ParrotForConditionalGeneration",
    "ParrotModel",
    "ParrotProcessor",
    "add_moe",
    "build_parrot",
]
