"""Parrot's multilingual mixture of experts (arXiv 2406.02539, section 3.2).

Shapes: N images, L positions per image, H hidden size of the language model, E experts, I hidden
units per expert, P prompt tokens of the whole batch.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .chunking import chunk_sizes
from .configuration_parrot import ParrotConfig


class MultilingualMoe(nn.Module):
    """Let the language of the prompt decide how an image is put into the language model's space.

    The weights of the mixture belong to the image, not to the position. So all experts are one SwiGLU
    of E·I hidden units, ordered expert by expert, each scaled by its expert's weight: three matrix
    products, whatever the number of experts.
    """

    def __init__(self, config: ParrotConfig) -> None:
        super().__init__()
        hidden_size = config.text_config.hidden_size
        width = config.num_experts * config.moe_intermediate_size
        self.num_experts = config.num_experts
        self.top_k = config.moe_top_k or config.num_experts
        self.residual = config.moe_residual
        self.weight = config.moe_weight
        self.gate = nn.Linear(hidden_size, config.num_experts, bias=False)
        self.gate_proj = nn.Linear(hidden_size, width, bias=False)
        self.up_proj = nn.Linear(hidden_size, width, bias=False)
        self.down_proj = nn.Linear(width, hidden_size, bias=False)

    def forward(
        self,
        image_features: torch.Tensor,
        image_samples: torch.Tensor,
        prompt_embeds: torch.Tensor,
        prompt_samples: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Apply the experts to every position of every image.

        Args:
            image_features: projected tower features, the CLS vector first [N, L, H].
            image_samples: the sample that each image belongs to [N].
            prompt_embeds: the token embeddings of all prompts, one after the other [P, H].
            prompt_samples: the sample that each of them belongs to [P].

        Returns:
            Features [N, L, H] and the experts' weights, softmax over all experts [N, E], float32.
        """
        weights = self.route(image_features[:, 0], image_samples, prompt_embeds, prompt_samples)
        mixture = self.mix(image_features, self._selected(weights).to(image_features.dtype))
        if self.residual == "token":
            return image_features + self.weight * mixture, weights
        if self.residual == "released":
            return self.weight * image_features + mixture, weights
        return mixture, weights

    def route(
        self,
        cls: torch.Tensor,
        image_samples: torch.Tensor,
        prompt_embeds: torch.Tensor,
        prompt_samples: torch.Tensor,
    ) -> torch.Tensor:
        """Weights [N, E] of the experts, by what each CLS vector [N, H] attends to in its own prompt."""
        scores = (cls @ prompt_embeds.T).float() * cls.shape[-1] ** -0.5
        foreign = image_samples[:, None] != prompt_samples[None, :]
        attention = scores.masked_fill(foreign, torch.finfo(scores.dtype).min).softmax(dim=-1)
        guided = attention.to(prompt_embeds.dtype) @ prompt_embeds
        logits: torch.Tensor = self.gate(guided)
        return logits.softmax(dim=-1, dtype=torch.float32)

    def mix(self, features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Σ_e weights[n, e] · expert_e(features[n]) [N, L, H], some images at a time."""
        width = self.gate_proj.weight.shape[0]
        per_unit = weights.repeat_interleave(width // self.num_experts, dim=-1)[:, None, :]
        bytes_per_image = features.shape[1] * width * features.element_size()
        sizes = chunk_sizes(len(features), bytes_per_image, features.device, training=self.training)
        mixtures = [
            self.down_proj(_gated(self.gate_proj(x), self.up_proj(x), scale))
            for x, scale in zip(torch.split(features, sizes), torch.split(per_unit, sizes), strict=True)
        ]
        return torch.cat(mixtures)

    def _selected(self, weights: torch.Tensor) -> torch.Tensor:
        """Zero for all but the `top_k` largest weights of each image; the others as they are."""
        if self.top_k == self.num_experts:
            return weights
        kept = weights.topk(self.top_k, dim=-1).indices
        return weights * torch.zeros_like(weights).scatter(-1, kept, 1.0)


def _gated(gate: torch.Tensor, up: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """silu(gate) · up · scale; between them nothing is kept for the backward pass, it is computed again."""

    def product(gate: torch.Tensor, up: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return F.silu(gate) * up * scale

    hidden: torch.Tensor = checkpoint(product, gate, up, scale, use_reentrant=False, preserve_rng_state=False)
    return hidden
