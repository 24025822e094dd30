"""Flamingo-style models so small that a test takes milliseconds, and prompts for them."""

from typing import Any

import torch
from model_cases import IMAGE_TOKEN, Batch, tiny_language_model, tiny_tower
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from parrot.model.registered import FlamingoForConditionalGeneration, build_flamingo

# Text only, one picture, two pictures in different turns (text before the first), a picture at the start.
PROMPTS = [
    list(range(10, 22)),
    [1, 2, IMAGE_TOKEN, 30, 31, 32, 33],
    [3, 5, IMAGE_TOKEN, 40, 41, 42, IMAGE_TOKEN, 43, 44, 45, 46],
    [IMAGE_TOKEN, 50],
]
PICTURES = [0, 1, 2, 1]
BATCH = Batch(PROMPTS, PICTURES)
alone, together = BATCH.alone, BATCH.together
SIZES = {"resampler_n_latents": 4, "resampler_depth": 2, "cross_layer_interval": 1}


def new(
    language_model: PreTrainedModel | None = None, tower: PreTrainedModel | None = None, **options: Any
) -> FlamingoForConditionalGeneration:
    torch.manual_seed(0)
    return build_flamingo(
        tower or tiny_tower(),
        language_model or tiny_language_model(),
        image_token_id=IMAGE_TOKEN,
        **{**SIZES, **options},
    ).eval()


def build(*args: Any, **options: Any) -> FlamingoForConditionalGeneration:
    """A model whose every part shows in the logits, the closed gates too."""
    model = new(*args, **options)
    for parameter in model.aligned().parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


SMALL = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": 0,
}  # fmt: skip

LANGUAGE_MODELS: dict[str, Any] = {
    "qwen2": tiny_language_model,
    "qwen2, tied": lambda: tiny_language_model(tie_word_embeddings=True),
    "qwen2, sliding window": lambda: tiny_language_model(
        use_sliding_window=True, sliding_window=4, max_window_layers=1
    ),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=4)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL, head_dim=8)),
}
