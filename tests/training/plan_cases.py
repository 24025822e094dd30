"""Small models and stages that are planned."""

import json
from pathlib import Path
from typing import Any

from small_stages import MODELS, MOE, TRAINING
from transformers import CLIPVisionConfig, Qwen2Config

from parrot.config import Align, Lora, Sft, Training
from parrot.training.plan import Plan

TOWER = CLIPVisionConfig(
    hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=56,
    patch_size=14,
)  # fmt: skip
LANGUAGE = Qwen2Config(
    hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=4, vocab_size=2000, bos_token_id=None, eos_token_id=None, pad_token_id=0,
)  # fmt: skip


def whole(lora: Lora | None = None, **training: Any) -> Sft:
    return Sft(
        learning_rate=1e-3, language_model_learning_rate=1e-3, lora=lora, moe=MOE,
        training=Training(**{**TRAINING, **training}),
    )  # fmt: skip


def of(stage: Align | Sft, architecture: str = "parrot") -> Plan:
    return Plan(stage, MODELS[architecture], TOWER, LANGUAGE)


def optimizing(folder: Path, **zero: Any) -> str:
    """A DeepSpeed JSON."""
    file = folder / "zero.json"
    file.write_text(json.dumps({"zero_optimization": zero}), encoding="utf-8")
    return str(file)
