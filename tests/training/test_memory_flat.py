"""A training takes no more memory the longer it goes on."""

from pathlib import Path
from typing import Any

import pytest
from small_stages import MODELS, MOE, TRAINING, Train

from parrot.config import Sft, Training
from parrot.training.sft import sft
from parrot.training.trainer import TrainingRun

STEPS, SETTLED, EVERY = 5000, 500, 100


@pytest.mark.slow
@pytest.mark.parametrize("packing", [False, True])
def test_memory_stays_flat_over_five_thousand_steps(
    inputs: dict[str, Path], train: Train, tmp_path: Path, packing: bool
) -> None:
    aligned = train("align", "parrot")
    memory: dict[int, float] = {}
    choices: dict[str, Any] = {"max_steps": STEPS, "save_steps": STEPS // 4, "logging_steps": EVERY}
    sft(
        Sft(
            learning_rate=1e-3, language_model_learning_rate=1e-3, lora=None, moe=MOE,
            training=Training(**{**TRAINING, **choices}, packing=packing),
        ),
        MODELS["parrot"], 1, **inputs, aligned=aligned, output=tmp_path / "sft",
        curve=tmp_path / "sft.csv", metrics=tmp_path / "m.json",
        run=TrainingRun(
            "sft", tmp_path / "s", lambda row, step: memory.setdefault(step, row["memory_gib"]), workers=1
        ),
    )  # fmt: skip
    assert len(memory) == STEPS // EVERY
    print({step: f"{size:.3f}" for step, size in memory.items()})
    assert memory[STEPS] < 1.03 * memory[SETTLED]
