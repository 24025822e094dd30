"""A Parrot from two loaded backbones, and experts for one that has none."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .configuration_parrot import ParrotConfig
from .modeling_parrot import ParrotForConditionalGeneration, ParrotMultiModalProjector
from .multilingual_moe import MultilingualMoe

# Fields of language models (Gemma 2, Cohere, Granite) that do more to the logits than a linear head.
SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling")


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
    embeddings, head = language_model.get_input_embeddings(), language_model.get_output_embeddings()
    name = type(language_model).__name__
    if head is None:
        raise ValueError(
            f"language_model: {name} has no language modeling head; load it as a causal language model"
        )
    if getattr(head, "bias", None) is not None:
        raise ValueError(f"language_model: the head of {name} has a bias, which is not supported")
    for field in SCALED_LOGITS:
        if getattr(language_model.config, field, None) not in (None, 1):
            raise ValueError(
                f"language_model: {name} changes its logits after the head ({field}): not supported"
            )
    if not 0 <= image_token_id < embeddings.num_embeddings:
        raise ValueError(
            f"image_token_id: {image_token_id} is outside the {embeddings.num_embeddings} embeddings of "
            f"{name}; call its resize_token_embeddings first"
        )
    # Copies, because a new config resets what its parts say about the attention implementation.
    config = ParrotConfig(
        vision_config=copy.deepcopy(vision_tower.config),
        text_config=copy.deepcopy(language_model.config),
        image_token_id=image_token_id,
        tie_word_embeddings=head.weight is embeddings.weight,
        **options,
    )
    with torch.device("meta"):
        parrot = ParrotForConditionalGeneration(config)
    for part, given, expected in (
        ("vision_tower", vision_tower, parrot.model.vision_tower),
        ("language_model", language_model.base_model, parrot.model.language_model),
    ):
        if type(given) is not type(expected):
            raise ValueError(
                f"{part}: expected {type(expected).__name__} inside, found {type(given).__name__}"
            )
    parrot.model.vision_tower = vision_tower.to(device=head.weight.device, dtype=head.weight.dtype)
    parrot.model.language_model = language_model.base_model
    parrot.lm_head = head
    config.vision_config, config.text_config = vision_tower.config, language_model.config
    for part_config in (config.vision_config, config.text_config):
        part_config._name_or_path = ""  # would be saved: a path of this machine
    _renew(parrot, "multi_modal_projector", ParrotMultiModalProjector)
    if config.num_experts:
        _renew(parrot, "multilingual_moe", MultilingualMoe)
    parrot.config.dtype = head.weight.dtype
    parrot.generation_config = language_model.generation_config
    return parrot


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
    parrot: ParrotForConditionalGeneration, name: str, module_class: Callable[[ParrotConfig], nn.Module]
) -> None:
    """Put a newly initialised module into `parrot.model`, on the head's device and in its dtype."""
    module = module_class(parrot.config)
    for part in reversed(list(module.modules())):  # children first
        parrot._init_weights(part)
    head = parrot.get_output_embeddings().get_parameter("weight")
    setattr(parrot.model, name, module.to(device=head.device, dtype=head.dtype))


__all__ = ["add_moe", "build_parrot"]
