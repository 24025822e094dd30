"""What `parrot.model` offers; importing this registers it with the Auto classes of transformers."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from .building import add_moe, build, build_flamingo, build_parrot
from .configuration_flamingo import FlamingoConfig
from .configuration_parrot import ParrotConfig
from .modeling_flamingo import FlamingoForConditionalGeneration, FlamingoModel
from .modeling_parrot import ParrotForConditionalGeneration, ParrotModel
from .modeling_vlm import VisionLanguageForConditionalGeneration
from .processing_parrot import ParrotProcessor

for config, model, generator in (
    (ParrotConfig, ParrotModel, ParrotForConditionalGeneration),
    (FlamingoConfig, FlamingoModel, FlamingoForConditionalGeneration),
):
    AutoConfig.register(config.model_type, config)
    AutoModel.register(config, model)
    AutoModelForImageTextToText.register(config, generator)
    AutoProcessor.register(config, ParrotProcessor)

__all__ = [
    "FlamingoConfig",
    "FlamingoForConditionalGeneration",
    "FlamingoModel",
    "ParrotConfig",
    "ParrotForConditionalGeneration",
    "ParrotModel",
    "ParrotProcessor",
    "VisionLanguageForConditionalGeneration",
    "add_moe",
    "build",
    "build_flamingo",
    "build_parrot",
]
