"""What all architectures here share: two backbones, and a causal language modeling head.

Shapes: B samples, T positions, N images of the whole batch, L positions per image, H hidden size of
the language model, D of the tower, E experts, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, ModelOutput
from transformers.utils.generic import can_return_tuple

from .chunking import chunk_sizes
from .image_positions import repeat_images
from .places import IGNORE_INDEX, Places, flat_places, next_labels


@dataclass
class VisionLanguageModelOutput(BaseModelOutputWithPast):
    """`image_hidden_states` [N, …]: what the language model is given of the images; `routing_weights` [N, E]
    where there are experts."""

    image_hidden_states: torch.Tensor | None = None
    routing_weights: torch.Tensor | None = None


@dataclass
class VisionLanguageCausalLMOutput(ModelOutput):
    """`logits` [B, T, V], or [supervised positions, V]; the rest as in `VisionLanguageModelOutput`."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    image_hidden_states: torch.Tensor | None = None
    routing_weights: torch.Tensor | None = None


class VisionLanguagePreTrainedModel(PreTrainedModel):
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True


class VisionLanguageModel(VisionLanguagePreTrainedModel):
    """The backbones, `vision_tower` and `language_model`, and what connects them; without a head."""

    vision_tower: Any
    language_model: Any

    def get_input_embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.language_model.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """What the connector makes of `pixel_values` [N, 3, height, width], before it sees a prompt."""
        raise NotImplementedError

    def features_of(
        self, pixel_values: torch.Tensor | None, image_features: torch.Tensor | None
    ) -> torch.Tensor | None:
        """The features of the images of a forward pass, if it has any."""
        if pixel_values is None:
            return image_features
        if image_features is not None:
            raise ValueError("give pixel_values or image_features, not both")
        return self.get_image_features(pixel_values)

    def image_positions(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Where images stand [B, T]."""
        return input_ids.eq(self.config.image_token_id)

    def tower_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """CLS (or what stands for it) and patches [N, 1 + patches, D] of `pixel_values`; N may be 0."""
        # Attention cannot run on no rows, yet a distributed run needs every rank to pass every module.
        blank = pixel_values.new_zeros(1, *pixel_values.shape[1:])
        config = self.config.vision_config
        widest = (pixel_values.shape[-1] // config.patch_size) ** 2 * config.intermediate_size
        bytes_per_image = widest * pixel_values.element_size()
        sizes = chunk_sizes(len(pixel_values), bytes_per_image, pixel_values.device, training=self.training)
        chunks = torch.split(pixel_values, sizes)
        return torch.cat([self._tower_features(some if len(some) else blank)[: len(some)] for some in chunks])

    def _tower_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        # With gradient checkpointing the outputs of embeddings require gradients, of a frozen tower's too.
        learns = any(parameter.requires_grad for parameter in self.vision_tower.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns):
            outputs = self.vision_tower(pixel_values, output_hidden_states=True, return_dict=True)
        features: torch.Tensor = outputs.hidden_states[self.config.vision_feature_layer]
        if self.config.vision_config.model_type == "siglip_vision_model":
            features = torch.cat([outputs.pooler_output[:, None], features], dim=1)
        return features

    def prepare(
        self,
        input_ids: torch.Tensor | None,
        has_images: bool,
        attention_mask: Any,
        position_ids: torch.Tensor | None,
        past_key_values: Cache | None,
        inputs_embeds: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Check the inputs of a forward pass; embeddings [B, T, H] and position ids [B, T]."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if input_ids is not None and input_ids.shape[1] == 0:
            raise ValueError("input_ids are empty: there is no prompt")
        if has_images and input_ids is None:
            raise ValueError("images need input_ids: image_token_id marks where they stand")
        begins = past_key_values is None or past_key_values.get_seq_length() == 0
        if not has_images and input_ids is not None and begins:
            count = int(self.image_positions(input_ids).sum())
            if count:
                raise ValueError(f"input_ids have {count} image positions, but there are no pixel_values")
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        is_padding = torch.is_tensor(attention_mask) and attention_mask.ndim == 2
        if position_ids is None and is_padding:
            # So that left padding changes nothing, in models with absolute positions as well.
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -inputs_embeds.shape[1] :]
        return inputs_embeds, position_ids


class VisionLanguageForConditionalGeneration(VisionLanguagePreTrainedModel, GenerationMixin):
    """A `VisionLanguageModel` with its language modeling head."""

    model_class: ClassVar[type[VisionLanguageModel]]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = self.model_class(config)
        self.lm_head: nn.Module = nn.Linear(
            config.text_config.hidden_size, config.text_config.vocab_size, bias=False
        )
        embeddings = self.get_input_embeddings()
        name = next(name for name, module in self.named_modules() if module is embeddings)
        self._tied_weights_keys = {"lm_head.weight": f"{name}.weight"}
        self.post_init()

    def aligned(self) -> nn.Module:
        """What stage one trains, and what of it stage two begins with."""
        raise NotImplementedError

    def connector(self) -> list[nn.Module]:
        """All that connects the backbones; in stage two it learns at its own rate."""
        raise NotImplementedError

    def decoder(self) -> nn.Module:
        """The language model and what of the connector lies within it: where LoRA puts its adapters."""
        raise NotImplementedError

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """See `VisionLanguageModel.get_image_features`."""
        return self.model.get_image_features(pixel_values)

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.lm_head = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        prompt_mask: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        supervised_only: bool | None = None,
        places: Places | None = None,
        **kwargs: Any,
    ) -> VisionLanguageCausalLMOutput:
        """As LLaVA's in transformers.

        Args:
            input_ids: [B, T]; every image is L = `config.image_seq_length` successive positions of
                `config.image_token_id`.
            pixel_values: [N, 3, height, width], one row per image, in the order of their positions.
                N may be 0, unlike None: what connects the backbones then runs on no rows and gets zero
                gradients, which keeps the ranks of a distributed run in step when one has a batch of text.
            position_ids: [B, T]. Where those of a row begin anew, without an `attention_mask`, so does a
                sample: a packed row, whose samples and their images do not see one another.
            labels: [B, T], -100 where nothing is to be predicted.
            prompt_mask: [B, up to T], true for the tokens that guide the MoE; where it ends, so does the
                prompt. If not given: the tokens whose label is -100, or without labels all of them. Image
                positions and padding never take part. Without experts it has no effect.
            image_features: [N, …], in place of `pixel_values`: what `get_image_features` made of them.
            supervised_only: compute the head only where there is a label: the same loss for less time and
                memory, but `logits` are [supervised positions, V]. If not given: in training mode.
            places: what `places_of` makes of the same ids, and as `supervised` where the next position has a
                label, in the flattened batch [S]; worked out here if not given.
            num_items_in_batch: divides the summed loss, as in every model of transformers.

        Raises:
            ValueError: images and image positions do not match, or an image has no prompt.
        """
        if prompt_mask is None and labels is not None:
            prompt_mask = labels == IGNORE_INDEX
        if self.training or labels is not None:  # whole conversations: nobody goes on from them,
            kwargs.setdefault("use_cache", False)  # and only without a cache are packed rows kept apart
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            prompt_mask=prompt_mask,
            image_features=image_features,
            places=places,
            **kwargs,
        )
        hidden_states = outputs.last_hidden_state
        vocab_size = self.config.text_config.vocab_size
        loss = None
        if labels is not None and (self.training if supervised_only is None else supervised_only):
            targets = next_labels(labels).flatten()
            supervised = places["supervised"] if places else flat_places(targets[None] != IGNORE_INDEX)
            logits = self.lm_head(hidden_states.flatten(0, 1)[supervised])
            loss = self.loss_function(
                logits=logits, labels=None, shift_labels=targets[supervised], vocab_size=vocab_size, **kwargs
            )
        else:
            kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            logits = self.lm_head(hidden_states[:, kept])
            if labels is not None:
                loss = self.loss_function(logits=logits, labels=labels, vocab_size=vocab_size, **kwargs)
        return VisionLanguageCausalLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
            routing_weights=outputs.routing_weights,
        )

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: Any = None,
        **model_kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """Called once by `generate`, before the first step.

        Fixes the prompt, so that without a cache, too, generated tokens do not change the routing; and
        keeps the images of a sample together when it is repeated (beams, several returned sequences).
        """
        if model_kwargs.get("image_features") is not None:
            raise ValueError("generate takes pixel_values; image_features are for forward passes")
        pixel_values = model_kwargs.pop("pixel_values", None)
        if pixel_values is not None and input_ids is not None:
            if model_kwargs.get("prompt_mask") is None:
                mask = model_kwargs.get("attention_mask")
                model_kwargs["prompt_mask"] = torch.ones_like(input_ids) if mask is None else mask
            if expand_size > 1:
                positions = self.model.image_positions(input_ids)
                length = self.config.image_seq_length
                pixel_values = repeat_images(pixel_values, positions, length, expand_size)
        input_ids, model_kwargs = super()._expand_inputs_for_generation(
            expand_size=expand_size,
            is_encoder_decoder=is_encoder_decoder,
            input_ids=input_ids,
            **model_kwargs,
        )
        if pixel_values is not None:
            model_kwargs["pixel_values"] = pixel_values
        return input_ids, model_kwargs
