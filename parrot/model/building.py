"""A model from two loaded backbones, and experts for a Parrot that has none."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.modeling_utils import set_zero3_state

from .language_models import check_language_model
from .modeling_flamingo import FlamingoForConditionalGeneration, gated_cross_attn_layers, perceiver_resampler
from .modeling_parrot import ParrotForConditionalGeneration, ParrotMultiModalProjector
from .modeling_vlm import VisionLanguageForConditionalGeneration
from .multilingual_moe import MultilingualMoe

ModelT = TypeVar("ModelT", bound=VisionLanguageForConditionalGeneration)


def build(
    architecture: str,
    vision_tower: PreTrainedModel,
    language_model: PreTrainedModel,
    *,
    image_token_id: int,
    **options: Any,
) -> VisionLanguageForConditionalGeneration:
    """`build_parrot` or `build_flamingo`, as `architecture` says: "parrot" or "flamingo"."""
    join = {"parrot": build_parrot, "flamingo": build_flamingo}[architecture]
    return join(vision_tower, language_model, image_token_id=image_token_id, **options)


def build_parrot(
    vision_tower: PreTrainedModel, language_model: PreTrainedModel, *, image_token_id: int, **options: Any
) -> ParrotForConditionalGeneration:
    """Join two loaded backbones; their weights are taken over, not copied.

    Args:
        vision_tower: such as `CLIPVisionModel`; it ends in the language model's device and dtype.
        language_model: a causal language model with its head, such as `Qwen2ForCausalLM`.
        image_token_id: an id within the language model's embeddings.
        options: further fields of `ParrotConfig`: projector, vision_feature_layer, num_experts, moe_….

    Raises:
        ValueError: the two do not go together.
    """
    model = _join(ParrotForConditionalGeneration, vision_tower, language_model, image_token_id, options)
    _renew(model, "multi_modal_projector", ParrotMultiModalProjector)
    if model.config.num_experts:
        _renew(model, "multilingual_moe", MultilingualMoe)
    return model


def build_flamingo(
    vision_tower: PreTrainedModel, language_model: PreTrainedModel, *, image_token_id: int, **options: Any
) -> FlamingoForConditionalGeneration:
    """As `build_parrot`; `options`: further fields of `FlamingoConfig`: vision_feature_layer, resampler_…."""
    model = _join(FlamingoForConditionalGeneration, vision_tower, language_model, image_token_id, options)
    _renew(model, "perceiver_resampler", perceiver_resampler)
    _renew(model, "gated_cross_attn_layers", gated_cross_attn_layers)
    model.model.attach()
    return model


def _join(
    model_class: type[ModelT],
    vision_tower: PreTrainedModel,
    language_model: PreTrainedModel,
    image_token_id: int,
    options: dict[str, Any],
) -> ModelT:
    """A model with the backbones in it; all that is new in it has no values yet."""
    check_language_model(language_model)
    embeddings, head = language_model.get_input_embeddings(), language_model.get_output_embeddings()
    name = type(language_model).__name__
    if not 0 <= image_token_id < embeddings.num_embeddings:
        raise ValueError(
            f"image_token_id: {image_token_id} is outside the {embeddings.num_embeddings} embeddings of "
            f"{name}; call its resize_token_embeddings first"
        )
    # Copies, because a new config resets what its parts say about the attention implementation.
    config = model_class.config_class(
        vision_config=copy.deepcopy(vision_tower.config),
        text_config=copy.deepcopy(language_model.config),
        image_token_id=image_token_id,
        tie_word_embeddings=head.weight is embeddings.weight,
        **options,
    )
    # The second context keeps ZeRO-3 from sharding parameters that are about to be replaced.
    with torch.device("meta"), set_zero3_state():
        model = model_class(config)
    for part, given, expected in (
        ("vision_tower", vision_tower, model.model.vision_tower),
        ("language_model", language_model.base_model, model.model.language_model),
    ):
        if type(given) is not type(expected):
            raise ValueError(
                f"{part}: expected {type(expected).__name__} inside, found {type(given).__name__}"
            )
    # A head sharded by ZeRO-3 says nothing of where a tower that is not sharded should be.
    alike = {} if is_deepspeed_zero3_enabled() else {"device": head.weight.device, "dtype": head.weight.dtype}
    model.model.vision_tower = vision_tower.to(**alike)
    model.model.language_model = language_model.base_model
    model.lm_head = head
    config.vision_config, config.text_config = vision_tower.config, language_model.config
    for part_config in (config.vision_config, config.text_config):
        part_config._name_or_path = ""  # would be saved: a path of this machine
    model.config.dtype = head.weight.dtype
    model.generation_config = language_model.generation_config
    # Trainers switch it off, and models are published so: every token would read all before it again.
    config.text_config.use_cache = model.generation_config.use_cache = True
    return model


def add_moe(parrot: ParrotForConditionalGeneration, *, num_experts: int, **options: Any) -> None:
    """Give a model without experts a new, untrained MoE, in place; `options`: `moe_…` of `ParrotConfig`.

    With `moe_residual="token"` (the default) the model computes the same as before.
    """
    if parrot.config.num_experts:
        raise ValueError(f"the model has {parrot.config.num_experts} experts already")
    options["num_experts"] = num_experts
    candidate = copy.deepcopy(parrot.config)
    for config in (candidate, parrot.config):
        for key, value in options.items():
            setattr(config, key, value)
        config.check_combination()
    _renew(parrot, "multilingual_moe", MultilingualMoe)


def _renew(
    model: VisionLanguageForConditionalGeneration, name: str, make: Callable[[Any], nn.Module]
) -> None:
    """Put a newly initialised module into `model.model`, on the head's device and in its dtype."""
    module = make(model.config)
    for part in reversed(list(module.modules())):  # children first
        model._init_weights(part)
    head = model.get_output_embeddings().get_parameter("weight")
    setattr(model.model, name, module.to(device=head.device, dtype=head.dtype))
