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

    def check_logits(self, model: torch.nn.Module, side: str) -> None:
        """They are the same of a sample alone and in the batch, padded on this side."""
        inputs = self.together(side)
        logits = model(**inputs).logits
        for index in range(len(self.prompts)):
            mask = inputs["attention_mask"][index].bool()
            expected = model(**self.alone(index)).logits[0]
            torch.testing.assert_close(logits[index][mask], expected, atol=2e-5, rtol=1e-4)

    def check_generation(self, model: Any, options: dict[str, Any]) -> None:
        """What is generated is the same of a sample alone and in the batch, with a cache and without."""
        options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, **options}
        inputs = self.together("left")
        prompt = inputs["input_ids"].shape[1]
        ids = model.generate(**inputs, **options)[:, prompt:]
        assert len({tuple(row) for row in ids.tolist()}) == len(self.prompts)
        for index in range(len(self.prompts)):
            single = model.generate(**self.alone(index), **options)[0, len(self.prompts[index]) :]
            assert ids[index].tolist() == single.tolist()
        if "cache_implementation" not in options:
            uncached = model.generate(**inputs, **options, use_cache=False)[:, prompt:]
            assert uncached.tolist() == ids.tolist()

    def check_gradient_checkpointing(self, build: Callable[[], Any]) -> None:
        gradients = []
        for checkpointing in (False, True):
            model = build().train()
            if checkpointing:
                model.gradient_checkpointing_enable()
            model(**with_labels(self.together("right"))).loss.backward()
            gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        torch.testing.assert_close(gradients[0], gradients[1])


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
