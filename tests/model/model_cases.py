"""Models so small that a test takes milliseconds."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, Qwen2Config, Qwen2ForCausalLM

from parrot.model import ParrotForConditionalGeneration

IMAGE_SIZE, PATCH_SIZE = 28, 14
IMAGE_TOKEN = 298
MOE: dict[str, Any] = {"num_experts": 3, "moe_intermediate_size": 8}

Build = Callable[..., ParrotForConditionalGeneration]


def tiny_tower() -> CLIPVisionModel:
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=IMAGE_SIZE,
            patch_size=PATCH_SIZE,
        )
    )


def tiny_language_model(**options: Any) -> Qwen2ForCausalLM:
    sizes = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    return Qwen2ForCausalLM(Qwen2Config(**{**sizes, **options}))


def noisy(parrot: ParrotForConditionalGeneration) -> ParrotForConditionalGeneration:
    """Weights large enough that every part shows in the logits, the zeroed experts too."""
    for module in (parrot.model.multi_modal_projector, parrot.model.multilingual_moe):
        if module is not None:
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
    return parrot.eval()
