"""Flamingo's way of joining: a perceiver resampler, and gated cross-attention in the language model.

The backbones are taken as they are. Before a language model's layer runs, a hook lets Idefics' gated
cross-attention read the images; its gates start at zero, so that a new model answers text bit by bit
as its language model does.

Shapes: B samples, T positions, N images of the whole batch, S slots for the images of a sample, L
latents per image, D width of the tower, H hidden size of the language model.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import AutoModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicLayer
from transformers.models.idefics.modeling_idefics import IdeficsGatedCrossAttentionLayer
from transformers.models.idefics.perceiver import IdeficsPerceiverResampler
from transformers.utils.generic import can_return_tuple

from .configuration_flamingo import FlamingoConfig
from .image_positions import latest_image, position_samples
from .modeling_vlm import (
    VisionLanguageForConditionalGeneration,
    VisionLanguageModel,
    VisionLanguageModelOutput,
    VisionLanguagePreTrainedModel,
)
from .places import Places, places_of


@dataclass(frozen=True)
class VisibleImages:
    """What the tokens of a forward pass read."""

    latents: torch.Tensor
    """[B, S · L, D], zeros where a sample has fewer images than slots."""
    mask: torch.Tensor
    """[B, 1, T, S · L], true where a token reads a latent."""
    gate: torch.Tensor
    """[B, T], true for tokens that have an image before them."""


class LatestImage(DynamicLayer):
    """One more layer of a key-value cache: each sample's latest image, for the steps to come.

    Being a layer, it follows its sample when the cache's rows are selected, repeated or reordered.
    """

    def __init__(self, latents: torch.Tensor, seen: torch.Tensor) -> None:
        """Latents [B, L, D], and whether the sample has an image at all [B]."""
        super().__init__()
        self.lazy_initialization(latents, latents)
        self.keys, self.values = latents[:, None], seen[:, None, None, None]

    @property
    def latents(self) -> torch.Tensor:
        return self.keys[:, 0]

    @property
    def seen(self) -> torch.Tensor:
        return self.values[:, 0, 0, 0]

    def crop(self, tokens_to_remove: int) -> None:
        """Nothing: what is taken back are generated tokens, never an image."""

    @staticmethod
    def of(cache: Cache | None) -> "LatestImage | None":
        """The one in `cache`, if there is one and the cache has not been reset."""
        layer = cache.layers[-1] if cache is not None and cache.layers else None
        return layer if isinstance(layer, LatestImage) and layer.is_initialized else None

    def keep_in(self, cache: Cache) -> None:
        """To be called when the cache has all its other layers: some are made with the first tokens."""
        if cache.layers[-1] is self:
            return
        if isinstance(cache.layers[-1], LatestImage):
            cache.layers.pop()
        # As the other layers: a mask for keys of a fixed length is made only if all are alike.
        self.is_compileable = cache.is_compileable
        cache.layers.append(self)


class FlamingoPreTrainedModel(VisionLanguagePreTrainedModel):
    config: FlamingoConfig
    config_class = FlamingoConfig

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, IdeficsGatedCrossAttentionLayer):
            init.zeros_(module.alpha_cross_attn)
            init.zeros_(module.alpha_dense)
        elif isinstance(module, IdeficsPerceiverResampler):
            init.normal_(module.latents)


class FlamingoModel(VisionLanguageModel, FlamingoPreTrainedModel):
    """The backbones and what connects them, without the language modeling head."""

    def __init__(self, config: FlamingoConfig) -> None:
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.perceiver_resampler = perceiver_resampler(config)
        self.gated_cross_attn_layers = gated_cross_attn_layers(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.attach()
        self.post_init()

    def attach(self) -> None:
        """Put the cross-attention in front of the layers of `language_model`.

        Raises:
            ValueError: another model has done so with this one.
        """
        if getattr(self.language_model, "has_cross_attention", False):
            raise ValueError("language_model: it is part of another Flamingo-style model; load it anew")
        self.language_model.has_cross_attention = True
        interval = self.config.cross_layer_interval
        for index, layer in enumerate(self.language_model.layers):
            gated = None if index % interval else self.gated_cross_attn_layers[index // interval]
            layer.register_forward_pre_hook(partial(_read_images, gated), with_kwargs=True)

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Latents [N, L, D] of `pixel_values` [N, 3, height, width]."""
        latents: torch.Tensor = self.perceiver_resampler(self.tower_features(pixel_values))
        return latents

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
        features = self.features_of(pixel_values, image_features)
        has_images = features is not None
        inputs_embeds, position_ids = self.prepare(
            input_ids, has_images, attention_mask, position_ids, past_key_values, inputs_embeds
        )
        packed = position_ids if attention_mask is None else None
        earlier = LatestImage.of(past_key_values)
        images, latest = self._place(input_ids, features, inputs_embeds, packed, earlier, places)
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            images=images,
            **kwargs,
        )
        if outputs.past_key_values is not None:
            latest.keep_in(outputs.past_key_values)
        return VisionLanguageModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=features,
        )

    def _place(
        self,
        input_ids: torch.Tensor | None,
        features: torch.Tensor | None,
        inputs_embeds: torch.Tensor,
        packed: torch.Tensor | None,
        earlier: LatestImage | None,
        places: Places | None,
    ) -> tuple[VisibleImages, LatestImage]:
        """Which latents each token reads, and those that tokens of later steps will read.

        A sample's slots are its images in their order, behind one for the latest image of earlier steps,
        which is empty (zeros that no gate lets through) if there is none.
        """
        batch, length = inputs_embeds.shape[:2]
        number = torch.zeros(batch, length, dtype=torch.long, device=inputs_embeds.device)
        if earlier is None:
            shape = (batch, self.config.resampler_n_latents, self.config.vision_config.hidden_size)
            earlier = LatestImage(inputs_embeds.new_zeros(shape), number.new_zeros(batch, dtype=torch.bool))
        slots, latest = earlier.latents[:, None], earlier
        if features is not None and input_ids is not None:
            positions = self.image_positions(input_ids)
            if places is None:
                token = self.config.image_token_id
                places = places_of(input_ids, token, 1, len(features), position_ids=packed)
            number = latest_image(positions, position_samples(positions, packed))
            placed = slots.new_zeros(batch, places["most_images"], *slots.shape[2:])
            row, column = places["images"] // length, places["images"] % length
            placed = placed.index_put((row, number[row, column] - 1), features.to(placed.dtype))
            slots = torch.cat([slots, placed], dim=1)
            rows, last = torch.arange(batch, device=number.device), number[:, -1]
            latest = LatestImage(slots[rows, last], (last > 0) | earlier.seen)
        reads = number[..., None] == torch.arange(slots.shape[1], device=number.device)
        images = VisibleImages(
            latents=slots.flatten(1, 2),
            mask=reads.repeat_interleave(slots.shape[2], dim=-1)[:, None],
            gate=(number > 0) | earlier.seen[:, None],
        )
        return images, latest


class FlamingoForConditionalGeneration(VisionLanguageForConditionalGeneration, FlamingoPreTrainedModel):
    """The Flamingo-style model with its language modeling head."""

    model_class = FlamingoModel

    def aligned(self) -> nn.Module:
        return nn.ModuleDict(
            {
                "perceiver_resampler": self.model.perceiver_resampler,
                "gated_cross_attn_layers": self.model.gated_cross_attn_layers,
            }
        )

    def connector(self) -> list[nn.Module]:
        return [self.aligned()]

    def decoder(self) -> nn.Module:
        return nn.ModuleDict(
            {
                "language_model": self.model.language_model,
                "gated_cross_attn_layers": self.model.gated_cross_attn_layers,
            }
        )


def perceiver_resampler(config: FlamingoConfig) -> nn.Module:
    """From the tower's vectors [N, …, D] to latents [N, L, D]."""
    tower = config.vision_config
    resampler: nn.Module = IdeficsPerceiverResampler(
        config.idefics_config,
        embed_dim=tower.hidden_size,
        depth=config.resampler_depth,
        n_heads=tower.num_attention_heads,
        head_dim=tower.hidden_size // tower.num_attention_heads,
        n_latents=config.resampler_n_latents,
    )
    return resampler


def gated_cross_attn_layers(config: FlamingoConfig) -> nn.ModuleList:
    """One for every `cross_layer_interval` layers of the language model."""
    count = len(range(0, config.text_config.num_hidden_layers, config.cross_layer_interval))
    shared = config.idefics_config
    return nn.ModuleList(IdeficsGatedCrossAttentionLayer(shared, layer_idx=i) for i in range(count))


def _read_images(gated: nn.Module | None, layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run before a layer of the language model: what it is given, as it is to be."""
    images: VisibleImages | None = kwargs.pop("images", None)
    if images is None or gated is None:
        return args, kwargs
    hidden_states = gated(
        args[0],
        None,
        images.latents,
        image_attention_mask=images.mask,
        cross_attention_gate=images.gate,
    )
    return (hidden_states, *args[1:]), kwargs
