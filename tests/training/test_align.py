"""Stage one with every architecture, and who reads what it writes."""

import pytest
from safetensors.torch import load_file
from small_stages import MODELS, Train

from parrot.errors import ParrotError
from parrot.training.align import ALIGNED_FILE


@pytest.mark.parametrize("architecture", MODELS)
def test_stage_one_writes_what_joins_the_backbones(train: Train, architecture: str) -> None:
    names = set(load_file(train("align", architecture) / ALIGNED_FILE))
    if architecture == "parrot":
        assert names == {"0.weight", "0.bias", "2.weight", "2.bias"}
    else:
        assert {name.split(".")[0] for name in names} == {"perceiver_resampler", "gated_cross_attn_layers"}


def test_stage_one_of_another_architecture_is_named(train: Train) -> None:
    with pytest.raises(ParrotError, match=r"projector\.safetensors: not what stage one makes for this model"):
        train("sft", "flamingo", aligned=train("align", "parrot"))
