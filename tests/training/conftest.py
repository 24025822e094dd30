"""Backbones, records, and the stages that train on them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from rank_cases import make_backbones
from small_stages import MODELS, MOE, TRAINING, WORDS, Train, picture
from written_mixtures import MixedRecord, write_mixture

from parrot.config import Align, Lora, RatedTraining, Sft, Training
from parrot.data.records import Image, Message
from parrot.training.align import align
from parrot.training.sft import sft
from parrot.training.trainer import TrainingRun


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Backbones and records: a third of them text only, a third with two pictures."""
    folder = tmp_path_factory.mktemp("inputs")
    make_backbones(folder)
    records = []
    for number in range(12):
        count = number % 3
        asked = Message("user", "<image>\n" * count + "What is it?")
        said = Message("assistant", f"It is {WORDS[number % 3]}.")
        images = tuple(Image(f"{place}.png", picture(number + place)) for place in range(count))
        records.append(MixedRecord(f"r{number}", "s", "en", (asked, said), images))
    prepared, mixture = write_mixture(folder, records)
    return {
        "vision": folder / "vision", "language": folder / "language", "records": prepared, "mixture": mixture
    }  # fmt: skip


@pytest.fixture
def train(inputs: dict[str, Path], tmp_path: Path) -> Train:
    """`train(stage, architecture, …)`: run a stage, and the folder that it writes."""

    def run(stage: str, architecture: str, lora: Lora | None = None, aligned: Path | None = None) -> Path:
        model = MODELS[architecture]
        output = tmp_path / f"{stage}-{architecture}{'-lora' if lora else ''}"
        shared: dict[str, Any] = {
            **inputs, "output": output, "curve": tmp_path / f"{output.name}.csv",
            "metrics": tmp_path / "metrics.json", "run": TrainingRun(stage, tmp_path / "checkpoints"),
        }  # fmt: skip
        if stage == "align":
            align(Align(training=RatedTraining(**TRAINING, learning_rate=1e-2)), model, 1, **shared)
        else:
            params = Sft(
                learning_rate=1e-3,
                language_model_learning_rate=1e-3,
                lora=lora,
                moe=MOE if architecture == "parrot" else None,
                training=Training(**TRAINING),
            )
            sft(params, model, 1, aligned=aligned or train("align", architecture), **shared)
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)  # as the command line does
        return output

    train = run
    return run
