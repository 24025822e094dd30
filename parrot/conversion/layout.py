"""How the authors' checkpoints name and cut what Parrot holds.

A `TensorPlan` says from which tensors of one layout a tensor of the other is made. Both directions are
lists of them, checked against shapes before anything is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CLIPVisionConfig, Qwen2Config

from parrot.errors import ParrotError
from parrot.model.registered import ParrotConfig, ParrotForConditionalGeneration

MODEL_TYPE = "parrot_qwen2"
TOWER = "model.vision_tower.vision_tower.vision_model."
"""Where the tower stands in the authors' checkpoint."""
TOWER_ALONE = "vision_model."
"""Where it stands in a folder of its own, or of a whole CLIP; newer folders have no prefix."""
EXPERTS = "model.moe_model.experts."
_CONCATENATED = {"gate_proj": 0, "up_proj": 0, "down_proj": 1}
"""Along which dimension the experts' matrices stand side by side in ours."""
_QWEN2_FIELDS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps", "attention_dropout",
    "bos_token_id", "eos_token_id", "use_cache",
)  # fmt: skip
_PREFIXES = (  # ours, the authors'
    ("model.vision_tower.", TOWER),
    ("model.multi_modal_projector.", "model.mm_projector."),
    ("model.multilingual_moe.gate.", "model.moe_model.gate."),
    ("model.language_model.", "model."),
)


@dataclass(frozen=True)
class TensorPlan:
    """A tensor to be written: `sources` side by side along `dim`, of which `part` (start, length) is kept."""

    name: str
    shape: tuple[int, ...]
    sources: list[str]
    source_shape: tuple[int, ...]
    """What each of them must have."""
    dim: int
    part: tuple[int, int] | None = None


def parrot_config(original: dict[str, Any], tower: CLIPVisionConfig, image_token_id: int) -> ParrotConfig:
    """Our config for the authors' `config.json`; the vocabulary has room for `image_token_id`.

    Raises:
        ParrotError: it is not one of the authors' configs, or says what ours cannot.
    """
    if original.get("model_type") != MODEL_TYPE:
        raise ParrotError(
            f"config.json: model_type is '{original.get('model_type')}', expected '{MODEL_TYPE}'"
        )
    try:
        # The fields of Qwen2's config stand among the others.
        fields = {key: original[key] for key in Qwen2Config().to_dict().keys() & original.keys()}
        fields |= {"rope_theta": original["rope_theta"], "model_type": "qwen2", "use_cache": True}
        text = Qwen2Config(**fields)
        text.vocab_size = max(text.vocab_size, image_token_id + 1)
        experts = original["num_experts"] if original["use_moe"] else 0
        return ParrotConfig(
            vision_config=tower,
            text_config=text,
            image_token_id=image_token_id,
            projector=original["mm_projector_type"],
            vision_feature_layer=original["mm_vision_select_layer"],
            vision_feature_select_strategy=original["mm_vision_select_feature"],
            num_experts=experts,
            moe_intermediate_size=original["moe_intermediate_size"],
            moe_residual="released" if original["use_moe_residual"] else "none",
            moe_weight=original["moe_weight"],
            tie_word_embeddings=text.tie_word_embeddings,
        )
    except KeyError as error:
        raise ParrotError(f"config.json: the field {error} is missing") from None
    except (ValueError, StrictDataclassError) as error:
        raise ParrotError(f"config.json: {' '.join(str(error).split())}") from None


def original_config(
    config: ParrotConfig, base: dict[str, Any], vision_tower: str, *, pad_to_square: bool, max_length: int
) -> dict[str, Any]:
    """The authors' `config.json` for ours, on top of `base` (the one it once came from, or empty).

    Raises:
        ParrotError: the authors' code cannot express the model.
    """
    _check_expressible(config)
    text = config.text_config
    return {
        "use_sliding_window": text.use_sliding_window,
        "sliding_window": text.sliding_window,
        "max_window_layers": text.max_window_layers,
        **base,
        **{field: getattr(text, field) for field in _QWEN2_FIELDS},
        "architectures": ["ParrotQwen2ForCausalLM"],
        "model_type": MODEL_TYPE,
        "rope_theta": text.rope_parameters["rope_theta"],
        "vocab_size": base.get("vocab_size", text.vocab_size),
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": str(config.dtype or torch.float32).removeprefix("torch."),
        "mm_vision_tower": vision_tower,
        "mm_hidden_size": config.vision_config.hidden_size,
        "mm_projector_type": config.projector,
        "mm_vision_select_layer": config.vision_feature_layer,
        "mm_vision_select_feature": config.vision_feature_select_strategy,
        "mm_patch_merge_type": "flat",
        "image_aspect_ratio": "pad" if pad_to_square else "square",
        "tokenizer_model_max_length": base.get("tokenizer_model_max_length", max_length),
        "use_mm_proj": True,
        "use_moe": config.num_experts > 0,
        "num_experts": config.num_experts or base.get("num_experts", 0),
        "moe_top_k": config.num_experts or base.get("moe_top_k", 0),
        "moe_hidden_size": text.hidden_size,
        "moe_intermediate_size": config.moe_intermediate_size,
        "use_moe_residual": config.moe_residual != "none",
        "moe_weight": config.moe_weight,
    }


def _check_expressible(config: ParrotConfig) -> None:
    if config.text_config.model_type != "qwen2" or config.vision_config.model_type != "clip_vision_model":
        raise ParrotError(
            "config.json: the authors' layout holds Qwen2 with a CLIP tower, not "
            f"{config.text_config.model_type} with {config.vision_config.model_type}"
        )
    if config.moe_residual == "token" and config.num_experts and config.moe_weight != 1:
        raise ParrotError(
            f"config.json: moe_residual 'token' with moe_weight {config.moe_weight}: the authors' layout "
            "weighs the token, not the mixture, so the weight must be 1"
        )
    if config.moe_top_k not in (None, config.num_experts):
        raise ParrotError(
            f"config.json: moe_top_k is {config.moe_top_k}, but the authors' code mixes all experts"
        )


def our_shapes(config: ParrotConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of our checkpoint and its shape; a tied head is not one of its own."""
    with torch.device("meta"):
        model = ParrotForConditionalGeneration(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        del shapes["lm_head.weight"]
    return shapes


def to_ours(config: ParrotConfig, vocab_size: int) -> list[TensorPlan]:
    """Our tensors from the authors' ones; embeddings of `vocab_size` rows may be fewer than ours."""
    return [
        TensorPlan(name, shape, theirs, one, dim)
        for name, shape, theirs, one, dim in _correspondences(config, vocab_size)
    ]


def to_originals(config: ParrotConfig, vocab_size: int) -> list[TensorPlan]:
    """The authors' tensors from ours, embeddings cut to `vocab_size` rows."""
    return [
        TensorPlan(their, one, [name], shape, dim, (place * one[dim], one[dim]))
        for name, shape, theirs, one, dim in _correspondences(config, vocab_size)
        for place, their in enumerate(theirs)
    ]


def _correspondences(
    config: ParrotConfig, vocab_size: int
) -> Iterator[tuple[str, tuple[int, ...], list[str], tuple[int, ...], int]]:
    """Our name and shape, and the authors' tensors that stand in it: names, the shape of each, along what."""
    experts = config.num_experts
    for name, shape in our_shapes(config).items():
        module, _, part = name.removesuffix(".weight").rpartition(".")
        if module == "model.multilingual_moe" and part in _CONCATENATED:
            dim = _CONCATENATED[part]
            one = tuple(size // experts if axis == dim else size for axis, size in enumerate(shape))
            yield name, shape, [f"{EXPERTS}{expert}.{part}.weight" for expert in range(experts)], one, dim
        else:
            of_words = name in ("lm_head.weight", "model.language_model.embed_tokens.weight")
            rows = (vocab_size, *shape[1:]) if of_words else shape
            yield name, shape, [original_name(name, config)], rows, 0


def original_name(name: str, config: ParrotConfig) -> str:
    """The authors' name of a tensor that both layouts hold alike."""
    if config.projector == "linear":  # theirs is the layer itself, ours a sequence of one
        name = name.replace("model.multi_modal_projector.0.", "model.multi_modal_projector.")
    for ours, theirs in _PREFIXES:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def is_buffer(name: str) -> bool:
    """Tensors that older versions saved and that follow from the config."""
    return name.endswith((".position_ids", ".rotary_emb.inv_freq"))
