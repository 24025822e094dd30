"""Parrot: a vision tower, a projector, an optional multilingual MoE and a causal language model.

Shapes: B samples, T positions, N images of the whole batch, L positions per image, H hidden size of
the language model, E experts.
"""

from typing import Any

import torch
from torch import nn
from transformers import AutoModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.utils.generic import can_return_tuple

from .configuration_parrot import PROJECTOR, ParrotConfig
from .modeling_vlm import (
    VisionLanguageForConditionalGeneration,
    VisionLanguageModel,
    VisionLanguageModelOutput,
    VisionLanguagePreTrainedModel,
)
from .multilingual_moe import MultilingualMoe
from .places import Places, places_of


class ParrotMultiModalProjector(nn.Sequential):
    """From the tower's width to the language model's: one linear layer, or several with GELU between."""

    def __init__(self, config: ParrotConfig) -> None:
        match = PROJECTOR.fullmatch(config.projector)
        depth = int(match[1] or 1) if match else 1
        hidden_size = config.text_config.hidden_size
        layers: list[nn.Module] = [nn.Linear(config.vision_config.hidden_size, hidden_size)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(hidden_size, hidden_size)]
        super().__init__(*layers)


class ParrotPreTrainedModel(VisionLanguagePreTrainedModel):
    config: ParrotConfig
    config_class = ParrotConfig

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # Where the token is kept, new experts change nothing until they have learned something, so
        # stage two begins where stage one ended. In the other forms zero would silence the image.
        if isinstance(module, MultilingualMoe) and module.residual == "token":
            init.zeros_(module.down_proj.weight)


class ParrotModel(VisionLanguageModel, ParrotPreTrainedModel):
    """The backbones and what connects them, without the language modeling head."""

    def __init__(self, config: ParrotConfig) -> None:
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.multi_modal_projector = ParrotMultiModalProjector(config)
        self.multilingual_moe = MultilingualMoe(config) if config.num_experts else None
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Projected tower features [N, L, H] of `pixel_values` [N, 3, height, width], before the MoE."""
        projected: torch.Tensor = self.multi_modal_projector(self.tower_features(pixel_values))
        return projected

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        prompt_mask: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        places: Places | None = None,
        **kwargs: Any,
    ) -> VisionLanguageModelOutput:
        """See `VisionLanguageForConditionalGeneration.forward`."""
        image_features = self.features_of(pixel_values, image_features)
        has_images = image_features is not None
        inputs_embeds, position_ids = self.prepare(
            input_ids, has_images, attention_mask, position_ids, past_key_values, inputs_embeds
        )
        routing_weights = None
        if image_features is not None and input_ids is not None:
            if places is None:
                places = self.places(input_ids, image_features, attention_mask, position_ids, prompt_mask)
            embeds = inputs_embeds.flatten(0, 1)
            if self.multilingual_moe is not None:
                image_features, routing_weights = self.multilingual_moe(
                    image_features,
                    places["image_samples"].to(image_features.device),
                    embeds[places["prompt"]],
                    places["prompt_samples"],
                )
            flat = image_features.flatten(0, 1).to(inputs_embeds.device, inputs_embeds.dtype)
            inputs_embeds = embeds.index_put((places["images"],), flat).view_as(inputs_embeds)

        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )
        return VisionLanguageModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=image_features,
            routing_weights=routing_weights,
        )

    def places(
        self,
        input_ids: torch.Tensor,
        image_features: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        prompt_mask: torch.Tensor | None,
    ) -> Places:
        """Where the images and what guides their experts stand.

        Raises:
            ValueError: images and image positions do not match, or an image has no prompt.
        """
        count, length = image_features.shape[:2]
        found = places_of(
            input_ids, self.config.image_token_id, length, count,
            attention_mask=attention_mask, position_ids=position_ids, prompt_mask=prompt_mask,
        )  # fmt: skip
        samples, guided = found["image_samples"], found["prompt_samples"]
        if self.multilingual_moe is not None and count and not torch.isin(samples, guided).all():
            lacking = sorted(set(samples.tolist()) - set(guided.tolist()))
            raise ValueError(f"sample {lacking[0]}: its prompt has no text to guide the MoE by")
        return found


class ParrotForConditionalGeneration(VisionLanguageForConditionalGeneration, ParrotPreTrainedModel):
    """Parrot with its language modeling head."""

    model_class = ParrotModel

    def aligned(self) -> nn.Module:
        projector: nn.Module = self.model.multi_modal_projector
        return projector

    def connector(self) -> list[nn.Module]:
        experts = self.model.multilingual_moe
        return [self.aligned()] if experts is None else [self.aligned(), experts]

    def decoder(self) -> nn.Module:
        language_model: nn.Module = self.model.language_model
        return language_model
