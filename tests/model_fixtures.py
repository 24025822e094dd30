"""Fixtures of the rooms that need a tiny model; what they are made of is in model_cases.py."""

from pathlib import Path
from typing import Any

import pytest
import torch
from model_cases import IMAGE_SIZE, IMAGE_TOKEN, MOE, Build, noisy, tiny_language_model, tiny_tower
from transformers import CLIPImageProcessorPil, PreTrainedModel, Qwen2Tokenizer

from examples.picture_world.backbones.train_tokenizer import train_tokenizer
from parrot.model.registered import ParrotForConditionalGeneration, ParrotProcessor, build_parrot


@pytest.fixture
def build() -> Build:
    """`build(language_model=…, tower=…, **options)`: a seeded model with a noisy MoE of three experts."""

    def make(
        language_model: PreTrainedModel | None = None, tower: PreTrainedModel | None = None, **options: Any
    ) -> ParrotForConditionalGeneration:
        torch.manual_seed(0)
        tower, language_model = tower or tiny_tower(), language_model or tiny_language_model()
        return noisy(build_parrot(tower, language_model, image_token_id=IMAGE_TOKEN, **{**MOE, **options}))

    return make


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Qwen2Tokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    texts = [
        "system user assistant You are a helpful assistant.",
        "What is red? Что это? 这是什么？ ما هذا؟",
    ] * 2
    return train_tokenizer(texts, 300, folder)


@pytest.fixture(scope="session")
def processor(tokenizer: Qwen2Tokenizer) -> ParrotProcessor:
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    )
    return ParrotProcessor(image_processor, tokenizer, image_seq_length=5)
