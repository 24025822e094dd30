"""Stage one with every architecture, and who reads what it writes."""

from pathlib import Path

import pytest
from safetensors.torch import load_file
from small_stages import MODELS, TRAINING, Train

from parrot.config import Align, RatedTraining
from parrot.errors import ParrotError
from parrot.training.align import ALIGNED_FILE, align
from parrot.training.trainer import TrainingRun


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


@pytest.mark.parametrize("architecture", MODELS)
def test_packing_learns_what_padding_learns(
    inputs: dict[str, Path], tmp_path: Path, architecture: str
) -> None:
    losses = {}
    for packing in (False, True):
        settings = {**TRAINING, "batch_size": 12, "packing": packing}  # each step sees all records
        losses[packing] = align(
            Align(training=RatedTraining(**settings, learning_rate=1e-3)), MODELS[architecture], 1, **inputs,
            output=tmp_path / f"{packing}", curve=tmp_path / "curve.csv", metrics=tmp_path / "metrics.json",
            run=TrainingRun("align", tmp_path / f"checkpoints-{packing}"),
        )["loss"]  # fmt: skip
    assert losses[True] == pytest.approx(losses[False], abs=2e-4)
