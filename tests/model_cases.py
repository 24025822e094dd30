"""Models so small that a test takes milliseconds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, Qwen2Config, Qwen2ForCausalLM

from parrot.model.registered import ParrotForConditionalGeneration

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


def pixels(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 28, 28, generator=torch.Generator().manual_seed(1))


def padded(prompts: list[list[int]], side: str) -> dict[str, torch.Tensor]:
    longest = max(map(len, prompts))
    rows, masks = [], []
    for ids in prompts:
        padding = [0] * (longest - len(ids))
        rows.append(padding + ids if side == "left" else ids + padding)
        masks.append(
            [0] * len(padding) + [1] * len(ids) if side == "left" else [1] * len(ids) + [0] * len(padding)
        )
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}


def with_labels(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Ids from 20 on are answers."""
    ids = inputs["input_ids"]
    return {**inputs, "labels": torch.where((ids >= 20) & (ids != IMAGE_TOKEN), ids, -100)}


@dataclass(frozen=True)
class Batch:
    """Prompts with image positions, and how many pictures each has."""

    prompts: list[list[int]]
    pictures: list[int]

    def alone(self, index: int) -> dict[str, torch.Tensor]:
        before = sum(self.pictures[:index])
        inputs = {"input_ids": torch.tensor([self.prompts[index]])}
        if self.pictures[index]:
            inputs["pixel_values"] = pixels(sum(self.pictures))[before : before + self.pictures[index]]
        return inputs

    def together(self, side: str) -> dict[str, torch.Tensor]:
        return {**padded(self.prompts, side), "pixel_values": pixels(sum(self.pictures))}


PICTURE = [IMAGE_TOKEN] * 5
# Text only, one picture, two pictures in different turns, a picture in a short prompt.
PROMPTS = [
    list(range(10, 22)),
    [1, 2, *PICTURE, 30, 31, 32, 33],
    [3, *PICTURE, 40, 41, 42, *PICTURE, 43, 44, 45, 46],
    [4, *PICTURE, 50],
]
PICTURES = [0, 1, 2, 1]
BATCH = Batch(PROMPTS, PICTURES)
alone, together = BATCH.alone, BATCH.together


def first_losses(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> list[float]:
    """Of four steps of SGD from weights that depend on nothing but their names and shapes."""
    generator = torch.Generator().manual_seed(0)
    for _, parameter in sorted(model.named_parameters()):  # whatever order they were made in
        parameter.data.normal_(std=0.2, generator=generator)
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
