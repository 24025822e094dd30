"""Configuration of Parrot: a vision tower, a language model and what connects them."""

import re
from typing import Literal

from huggingface_hub.dataclasses import strict

from .configuration_vlm import VisionLanguageConfig

PAPER = "https://arxiv.org/abs/2406.02539"
PROJECTOR = re.compile(r"linear|mlp([1-9])x_gelu")


@strict
class ParrotConfig(VisionLanguageConfig):
    r"""
    Every image becomes `image_seq_length` positions of the language model: the tower's CLS vector and
    its patches, projected. SigLIP has no CLS vector; what its pooling head makes of all patches takes
    its place. With experts (`num_experts > 0`), a mixture of them, weighed once per image
    by how its CLS vector attends to the prompt, is applied to these positions.

    Args:
        vision_config (`dict` or `PreTrainedConfig`): a CLIP or SigLIP vision tower.
        text_config (`dict` or `PreTrainedConfig`): any causal language model of transformers.
        image_token_id (`int`): the id that stands at every image position of `input_ids`.
        projector (`str`): `"linear"`, or `"mlpNx_gelu"`: N linear layers with GELU between them.
        vision_feature_layer (`int`): which hidden state of the tower is read; 0 is the embeddings.
        vision_feature_select_strategy (`str`): `"cls_patch"`, the CLS vector and all patches.
        num_experts (`int`): 0 leaves the mixture out: LLaVA, and Parrot's first stage.
        moe_intermediate_size (`int`): hidden units of each expert.
        moe_residual (`str`): with x a projected vector and M(x) the mixture of the experts,
            `"token"` is x + moe_weight * M(x) (the paper, eq. 5: G = H + alpha * MoE(H)),
            `"released"` is moe_weight * x + M(x) (the authors' code and checkpoints), `"none"` is M(x).
        moe_weight (`float`): see `moe_residual`; the released checkpoints have 0.1.
        moe_top_k (`int`, *optional*): mix only the k experts with the largest weights. The weights stay
            those of the softmax over all experts, so k = num_experts is the dense mixture and the gate
            keeps its gradient at k = 1. Without it all experts are mixed, as in the released code.
    """

    model_type = "parrot"

    projector: str = "mlp2x_gelu"
    vision_feature_select_strategy: Literal["cls_patch"] = "cls_patch"
    num_experts: int = 0
    moe_intermediate_size: int = 4096
    moe_residual: Literal["token", "released", "none"] = "token"
    moe_weight: float = 1.0
    moe_top_k: int | None = None

    @property
    def image_seq_length(self) -> int:
        """Positions that one image takes: CLS (or what stands for it) and patches."""
        patches_per_side: int = self.vision_config.image_size // self.vision_config.patch_size
        return patches_per_side**2 + 1

    @property
    def summary(self) -> str:
        """What the model is made of, for its card."""
        experts = "a multilingual mixture of experts that reads the question to guide the visual tokens"
        middle = f"a projector, {experts}," if self.num_experts else "a projector"
        return f"the architecture of [Parrot]({PAPER}): a vision tower, {middle} and a language model"

    def check_combination(self) -> None:
        """Raise a `ValueError` that names the field if the parts cannot work together."""
        super().check_combination()
        if not PROJECTOR.fullmatch(self.projector):
            raise ValueError(
                f"projector: expected 'linear' or 'mlpNx_gelu' with N = 1…9, found '{self.projector}'"
            )
        if self.num_experts < 0:
            raise ValueError(f"num_experts: expected 0 or more, found {self.num_experts}")
        if self.moe_top_k is not None and not 1 <= self.moe_top_k <= max(self.num_experts, 1):
            raise ValueError(
                f"moe_top_k: expected 1…{self.num_experts} (num_experts) or null, found {self.moe_top_k}"
            )
