"""Parrot: a vision tower, a projector, an optional multilingual MoE and a causal language model.

Shapes: B samples, T positions, N images of the whole batch, L positions per image, H hidden size of
the language model, E experts, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_parrot import PROJECTOR, ParrotConfig
from .multilingual_moe import MultilingualMoe

IGNORE_INDEX = -100


@dataclass
class ParrotModelOutputWithPast(BaseModelOutputWithPast):
    """`image_hidden_states` [N, L, H]: what stands at the image positions; `routing_weights` [N, E]."""

    image_hidden_states: torch.Tensor | None = None
    routing_weights: torch.Tensor | None = None


@dataclass
class ParrotCausalLMOutputWithPast(ModelOutput):
    """`logits` [B, T, V], or [supervised positions, V]; the rest as in `ParrotModelOutputWithPast`."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    image_hidden_states: torch.Tensor | None = None
    routing_weights: torch.Tensor | None = None


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


class ParrotPreTrainedModel(PreTrainedModel):
    config: ParrotConfig
    config_class = ParrotConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # Where the token is kept, new experts change nothing until they have learned something, so
        # stage two begins where stage one ended. In the other forms zero would silence the image.
        if isinstance(module, MultilingualMoe) and module.residual == "token":
            init.zeros_(module.down_proj.weight)


class ParrotModel(ParrotPreTrainedModel):
    """The backbones and what joins them, without the language modeling head."""

    def __init__(self, config: ParrotConfig) -> None:
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.multi_modal_projector = ParrotMultiModalProjector(config)
        self.multilingual_moe = MultilingualMoe(config) if config.num_experts else None
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.language_model.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Projected tower features [N, L, H] of `pixel_values` [N, 3, height, width], before the MoE."""
        count = len(pixel_values)
        if count == 0:
            # Attention cannot run on no rows, yet a distributed run needs every rank to pass every module.
            pixel_values = pixel_values.new_zeros(1, *pixel_values.shape[1:])
        outputs = self.vision_tower(pixel_values, output_hidden_states=True, return_dict=True)
        features = outputs.hidden_states[self.config.vision_feature_layer]
        if self.config.vision_config.model_type == "siglip_vision_model":
            features = torch.cat([outputs.pooler_output[:, None], features], dim=1)
        projected: torch.Tensor = self.multi_modal_projector(features[:count])
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
        **kwargs: Any,
    ) -> ParrotModelOutputWithPast:
        """See `ParrotForConditionalGeneration.forward`."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if input_ids is not None and input_ids.shape[1] == 0:
            raise ValueError("input_ids are empty: there is no prompt")
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        padding_mask = (
            attention_mask if torch.is_tensor(attention_mask) and attention_mask.ndim == 2 else None
        )
        if position_ids is None and padding_mask is not None:
            # So that left padding changes nothing, in models with absolute positions as well.
            position_ids = (padding_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -inputs_embeds.shape[1] :]

        routing_weights = None
        if pixel_values is not None:
            if image_features is not None:
                raise ValueError("give pixel_values or image_features, not both")
            image_features = self.get_image_features(pixel_values)
        if image_features is None:
            if past_key_values is None or past_key_values.get_seq_length() == 0:
                self._refuse_missing_images(input_ids)
        else:
            if input_ids is None:
                raise ValueError("images need input_ids: image_token_id marks where they stand")
            image_positions = input_ids == self.config.image_token_id
            image_samples = self._image_samples(image_positions, image_features)
            if self.multilingual_moe is not None:
                prompt = _prompt_positions(image_positions, padding_mask, prompt_mask)
                prompt_samples = prompt.nonzero()[:, 0]
                if image_samples.numel() and not torch.isin(image_samples, prompt_samples).all():
                    lacking = sorted(set(image_samples.tolist()) - set(prompt_samples.tolist()))
                    raise ValueError(f"sample {lacking[0]}: its prompt has no text to guide the MoE by")
                image_features, routing_weights = self.multilingual_moe(
                    image_features, image_samples, inputs_embeds[prompt], prompt_samples
                )
            flat = image_features.flatten(0, 1).to(inputs_embeds.device, inputs_embeds.dtype)
            inputs_embeds = inputs_embeds.index_put((image_positions,), flat)

        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )
        return ParrotModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=image_features,
            routing_weights=routing_weights,
        )

    def _refuse_missing_images(self, input_ids: torch.Tensor | None) -> None:
        if input_ids is not None and (input_ids == self.config.image_token_id).any():
            count = int((input_ids == self.config.image_token_id).sum())
            raise ValueError(f"input_ids have {count} image positions, but there are no pixel_values")

    @staticmethod
    def _image_samples(image_positions: torch.Tensor, image_features: torch.Tensor) -> torch.Tensor:
        """The sample that each image belongs to [N], from the image positions [B, T] of the batch."""
        images, length = image_features.shape[:2]
        counts = image_positions.sum(dim=1).tolist()
        torn = [sample for sample, count in enumerate(counts) if count % length]
        if sum(counts) != images * length or torn:
            where = f"sample {torn[0]} has {counts[torn[0]]}" if torn else f"per sample there are {counts}"
            raise ValueError(
                f"{images} images of {length} positions each need {images * length} image positions in "
                f"input_ids, found {sum(counts)}; {where}"
            )
        places = image_positions.nonzero()  # [N · L, sample and position]
        first, last = places[::length], places[length - 1 :: length]
        scattered = first[last[:, 1] - first[:, 1] != length - 1, 0].tolist()
        if scattered:
            raise ValueError(
                f"sample {scattered[0]}: the {length} positions of an image in input_ids are not successive"
            )
        return first[:, 0].to(image_features.device)


class ParrotForConditionalGeneration(ParrotPreTrainedModel, GenerationMixin):
    """Parrot with its language modeling head."""

    def __init__(self, config: ParrotConfig) -> None:
        super().__init__(config)
        self.model = ParrotModel(config)
        self.lm_head: nn.Module = nn.Linear(
            config.text_config.hidden_size, config.text_config.vocab_size, bias=False
        )
        embeddings = self.get_input_embeddings()
        name = next(name for name, module in self.named_modules() if module is embeddings)
        self._tied_weights_keys = {"lm_head.weight": f"{name}.weight"}
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.lm_head = value

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model.get_image_features(pixel_values)

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
        **kwargs: Any,
    ) -> ParrotCausalLMOutputWithPast:
        """As LLaVA's in transformers.

        Args:
            input_ids: [B, T]; every image is L successive positions of `config.image_token_id`.
            pixel_values: [N, 3, height, width], one row per image, in the order of their positions.
                N may be 0, unlike None: projector and experts then run on no rows and get zero gradients,
                which keeps the ranks of a distributed run in step when one has a batch of text.
            labels: [B, T], -100 where nothing is to be predicted.
            prompt_mask: [B, up to T], true for the tokens that guide the MoE; where it ends, so does the
                prompt. If not given: the tokens whose label is -100, or without labels all of them. Image
                positions and padding never take part.
            image_features: [N, L, H], in place of `pixel_values`: what `get_image_features` made of them.
            supervised_only: compute the head only where there is a label: the same loss for less time and
                memory, but `logits` are [supervised positions, V]. If not given: in training mode.
            num_items_in_batch: divides the summed loss, as in every model of transformers.

        Raises:
            ValueError: images and image positions do not match, or an image has no prompt.
        """
        if prompt_mask is None and labels is not None:
            prompt_mask = labels == IGNORE_INDEX
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            prompt_mask=prompt_mask,
            image_features=image_features,
            **kwargs,
        )
        hidden_states = outputs.last_hidden_state
        vocab_size = self.config.text_config.vocab_size
        loss = None
        if supervised_only is None:
            supervised_only = self.training
        if labels is not None and supervised_only:
            # Position t predicts label t + 1.
            targets = F.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)
            supervised = targets != IGNORE_INDEX
            logits = self.lm_head(hidden_states[supervised])
            loss = self.loss_function(
                logits=logits, labels=None, shift_labels=targets[supervised], vocab_size=vocab_size, **kwargs
            )
        else:
            kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            logits = self.lm_head(hidden_states[:, kept])
            if labels is not None:
                loss = self.loss_function(logits=logits, labels=labels, vocab_size=vocab_size, **kwargs)
        return ParrotCausalLMOutputWithPast(
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
        pixel_values = model_kwargs.pop("pixel_values", None)
        if pixel_values is not None and input_ids is not None:
            if model_kwargs.get("prompt_mask") is None:
                padding_mask = model_kwargs.get("attention_mask")
                model_kwargs["prompt_mask"] = (
                    torch.ones_like(input_ids) if padding_mask is None else padding_mask
                )
            if expand_size > 1:
                counts = (input_ids == self.config.image_token_id).sum(dim=1) // self.config.image_seq_length
                of_sample = pixel_values.split(counts.tolist())
                pixel_values = torch.cat([images for images in of_sample for _ in range(expand_size)])
        input_ids, model_kwargs = super()._expand_inputs_for_generation(
            expand_size=expand_size,
            is_encoder_decoder=is_encoder_decoder,
            input_ids=input_ids,
            **model_kwargs,
        )
        return input_ids, model_kwargs if pixel_values is None else {
            **model_kwargs,
            "pixel_values": pixel_values,
        }


def _prompt_positions(
    image_positions: torch.Tensor, padding_mask: torch.Tensor | None, prompt_mask: torch.Tensor | None
) -> torch.Tensor:
    """Where text stands that guides the MoE [B, T]."""
    prompt = ~image_positions
    if padding_mask is not None:
        prompt = prompt & padding_mask[:, -prompt.shape[1] :].bool()
    if prompt_mask is not None:
        prompt = prompt & F.pad(prompt_mask.bool(), (0, prompt.shape[1] - prompt_mask.shape[1]))
    return prompt


__all__ = ["ParrotForConditionalGeneration", "ParrotModel", "ParrotPreTrainedModel"]
