"""Configuration of the Flamingo-style model: backbones joined by gated cross-attention."""

from huggingface_hub.dataclasses import strict
from transformers import IdeficsConfig

from .configuration_vlm import VisionLanguageConfig

PAPER = "https://arxiv.org/abs/2305.04790"
# Whose decoder hands what it does not know itself on to its `layers`, each a layer of a residual stream:
# `position_ids`, too, by which they keep packed samples apart.
LANGUAGE_MODELS = ("llama", "mistral", "qwen2", "qwen3")


@strict
class FlamingoConfig(VisionLanguageConfig):
    r"""
    MultiModal-GPT's architecture, that of Flamingo: a perceiver resampler makes the tower's vectors of an
    image (CLS and patches) a fixed number of latents, and gated cross-attention in front of the language
    model's layers lets each token read those of the latest image before it. An image takes one position of
    the text. Resampler and cross-attention are those of Idefics in transformers.

    Args:
        resampler_n_latents (`int`): latents of an image.
        resampler_depth (`int`): blocks of the resampler; it is as wide as the tower, with as many heads.
        cross_layer_interval (`int`): cross-attention stands in front of the first of each so many layers.
    """

    model_type = "parrot_flamingo"

    resampler_n_latents: int = 64
    resampler_depth: int = 6
    cross_layer_interval: int = 4

    @property
    def image_seq_length(self) -> int:
        """Positions of `input_ids` that one image takes."""
        return 1

    @property
    def summary(self) -> str:
        """What the model is made of, for its card."""
        return (
            f"the architecture of [MultiModal-GPT]({PAPER}): a vision tower, a perceiver resampler, and "
            "gated cross-attention in front of the layers of a language model"
        )

    @property
    def idefics_config(self) -> IdeficsConfig:
        """What Idefics' resampler and cross-attention ask for: sizes of the tower and the language model."""
        tower, text = self.vision_config, self.text_config
        return IdeficsConfig(
            hidden_size=text.hidden_size,
            intermediate_size=text.intermediate_size,
            num_attention_heads=text.num_attention_heads,
            hidden_act=text.hidden_act,
            rms_norm_eps=text.rms_norm_eps,
            vision_config={"embed_dim": tower.hidden_size},
            # These layers exist for eager attention and SDPA only, whatever the backbones use.
            attn_implementation="sdpa",
        )

    def check_combination(self) -> None:
        """Raise a `ValueError` that names the field if the parts cannot work together."""
        super().check_combination()
        text = self.text_config
        if text.model_type not in LANGUAGE_MODELS:
            raise ValueError(
                f"text_config: cross-attention cannot be put into a '{text.model_type}' language model; "
                f"supported: {', '.join(LANGUAGE_MODELS)}"
            )
        if text.hidden_size % text.num_attention_heads:
            raise ValueError(
                f"text_config: cross-attention divides hidden_size by num_attention_heads, but "
                f"{text.num_attention_heads} is no divisor of {text.hidden_size}"
            )
        for field in ("resampler_n_latents", "resampler_depth", "cross_layer_interval"):
            if (value := getattr(self, field)) < 1:
                raise ValueError(f"{field}: expected 1 or more, found {value}")
