"""Both stages with backbones and records so small that a stage takes a second."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from parrot.config import FlamingoArchitecture, Lora, Moe, ParrotArchitecture

WORDS = ("red", "green", "blue")
TRAINING: dict[str, Any] = {
    "max_steps": 3, "batch_size": 4, "warmup_steps": 0.0, "weight_decay": 0.0, "logging_steps": 1,
    "save_steps": 3,
}  # fmt: skip
LORA = Lora(
    rank=2, alpha=2, dropout=0.0, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"]
)
MOE = Moe(num_experts=2, intermediate_size=8, residual="token", weight=1.0)
MODELS = {
    "parrot": ParrotArchitecture(
        architecture="parrot", projector="mlp2x_gelu", vision_feature_layer=-1, max_length=128
    ),
    "flamingo": FlamingoArchitecture(
        architecture="flamingo", resampler_n_latents=4, resampler_depth=1, cross_layer_interval=1,
        learning_rate_factor=0.5, vision_feature_layer=-1, max_length=128,
    ),
}  # fmt: skip


def picture(number: int) -> bytes:
    file = io.BytesIO()
    colour = [20, 20, 20]
    colour[number % 3] = 220
    Picture.new("RGB", (20, 20), tuple(colour)).save(file, format="PNG")
    return file.getvalue()


Train = Callable[..., Path]
