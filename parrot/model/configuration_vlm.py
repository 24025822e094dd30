"""What the configurations of all architectures here have: a vision tower and a language model."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

VISION_TOWERS = ("clip_vision_model", "siglip_vision_model")


@strict
class VisionLanguageConfig(PreTrainedConfig):
    r"""
    Args:
        vision_config (`dict` or `PreTrainedConfig`): a CLIP or SigLIP vision tower.
        text_config (`dict` or `PreTrainedConfig`): a causal language model of transformers.
        image_token_id (`int`): the id that stands at every image position of `input_ids`.
        vision_feature_layer (`int`): which hidden state of the tower is read; 0 is the embeddings.
    """

    sub_configs_defaults = {  # noqa: RUF012 (transformers declares it a ClassVar)
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="clip_vision_model"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen2"),
    }

    vision_config: Any = None
    text_config: Any = None
    image_token_id: int = 151646
    vision_feature_layer: int = -2
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        # Language models keep this flag in their own config; `from_pretrained` looks for it here.
        self.tie_word_embeddings = self.tie_word_embeddings or bool(self.text_config.tie_word_embeddings)
        self.check_combination()

    @property
    def image_seq_length(self) -> int:
        """Positions of `input_ids` that one image takes."""
        raise NotImplementedError

    @property
    def summary(self) -> str:
        """What the model is made of, for its card: "the architecture of …"."""
        raise NotImplementedError

    def check_combination(self) -> None:
        """Raise a `ValueError` that names the field if the parts cannot work together."""
        tower = self.vision_config
        if tower.model_type not in VISION_TOWERS:
            raise ValueError(
                f"vision_config: a '{tower.model_type}' tower is not supported, it has no vector of the "
                f"whole picture; supported: {', '.join(VISION_TOWERS)}"
            )
        if tower.model_type == "siglip_vision_model" and not tower.vision_use_head:
            raise ValueError(
                "vision_config: vision_use_head is false, but what SigLIP's pooling head makes of a picture "
                "takes the place of its CLS vector"
            )
        layers = tower.num_hidden_layers
        if not -(layers + 1) <= self.vision_feature_layer <= layers:
            raise ValueError(
                f"vision_feature_layer: a tower of {layers} layers has no {self.vision_feature_layer}"
            )
