"""Small trainings that one process or two ranks run: as a module for tests, as a program for ranks.

`workshop.py` is where tests have them run.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from small_stages import WORDS, picture
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from examples.picture_world.backbones.train_tokenizer import train_tokenizer
from parrot.config import (
    Align,
    FlamingoArchitecture,
    Lora,
    Moe,
    ParrotArchitecture,
    RatedTraining,
    Sft,
    Training,
)
from parrot.errors import ParrotError
from parrot.hardware import tell_deepspeed
from parrot.model import chunking
from parrot.model.modeling_parrot import ParrotForConditionalGeneration
from parrot.model.modeling_vlm import VisionLanguageModel
from parrot.pipeline.processes import end_with_parents
from parrot.training import assembly
from parrot.training.align import align
from parrot.training.conversations import WatchedCollator
from parrot.training.distributed import rank
from parrot.training.launch import as_rank, launch, starts_ranks
from parrot.training.sampler import LengthGroupedSampler
from parrot.training.sft import sft
from parrot.training.trainer import TrainingRun

SEED = 1
LORA = Lora(rank=2, alpha=2, dropout=0.0, target_modules=["q_proj", "v_proj", "down_proj"])
MOE = Moe(num_experts=2, intermediate_size=8, residual="token", weight=1.0)
TRAINING: dict[str, Any] = {
    "max_steps": 3, "batch_size": 4, "warmup_steps": 0.0, "weight_decay": 0.0, "logging_steps": 1,
    "save_steps": 100,
}  # fmt: skip
DEEPSPEED = Path("parrot/training/deepspeed").absolute()


def make_backbones(folder: Path) -> None:
    """`vision` and `language` in `folder`."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["What is it? It is red, green, blue."] * 3, 300, folder / "language")
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, initializer_range=0.2, tie_word_embeddings=True, bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    ).save_pretrained(folder / "language")  # fmt: skip
    tokenizer.save_pretrained(folder / "language")
    CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16,
            patch_size=8,
        )
    ).save_pretrained(folder / "vision")  # fmt: skip
    size = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=size).save_pretrained(folder / "vision")


class Records:
    """In the place of a `RecordDataset`: so many images in each of its records as `images` says."""

    def __init__(self, images: list[int]) -> None:
        self._images = images
        # All of one length, so that the order in which they come depends on nothing else.
        self.lengths = self.positions = [1] * len(images)
        self.records = np.arange(len(images))
        self.seen: list[int] = []

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        count = self._images[index]
        self.seen.append(count)
        messages = [
            {"role": "user", "content": "<image>\n" * count + "What is it?"},
            {"role": "assistant", "content": f"It is {WORDS[index % 3]}."},
        ]
        images = [picture(index + place) for place in range(count)]
        return {"id": f"r{index}", "source": "s", "language": "en", "messages": messages, "images": images}


def coming_in_order(images: list[int], batch: int) -> list[int]:
    """The `images` of `Records` of which a first epoch meets them in this order, `batch` at a step."""
    placed = [0] * len(images)
    order = LengthGroupedSampler([1] * len(images), batch, SEED)
    for count, index in zip(images, order, strict=True):
        placed[index] = count
    return placed


class Tower:
    """Watches what the tower of a training does."""

    def __init__(self) -> None:
        self.seen = {"sharded": False, "gradients": False, "most_images": 0}

    def __enter__(self) -> "Tower":
        self._compute = VisionLanguageModel._tower_features

        def watched(model: Any, pixel_values: torch.Tensor) -> torch.Tensor:
            features = self._compute(model, pixel_values)
            parameters = list(model.vision_tower.parameters())
            self.seen["sharded"] |= any(hasattr(p, "ds_id") or not p.numel() for p in parameters)
            self.seen["gradients"] |= features.requires_grad
            self.seen["most_images"] = max(len(pixel_values), self.seen["most_images"])
            return features

        VisionLanguageModel._tower_features = watched  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        VisionLanguageModel._tower_features = self._compute  # type: ignore[method-assign]


def _aligned(model: Any) -> list[Any]:
    return [model.aligned()]


def run_case(case: dict[str, Any], backbones: Path) -> None:
    """Train as `case` says; what comes of it lies in its `folder`: `output`, `curve.csv`, `metrics.json`,
    and of each rank what it saw, `seen-0.json` and so on, and what it told, `told-0.json`.

    A case has: folder; stage, "align" or "sft"; architecture; images, one number a record; deepspeed,
    "zero2", "zero3" or None; offload, to the CPU's memory; lora, moe, frozen_moe; aligned, a folder for
    "sft"; chunk_bytes, in which images are computed; broken, a record that makes no number; training, what is
    unlike the default.
    """
    folder = Path(case["folder"])
    records = Records(case["images"])
    told: list[dict[str, float]] = []
    learns = ParrotForConditionalGeneration.connector
    with (
        patch.object(chunking, "CPU_BYTES", case.get("chunk_bytes", 2**24)),
        patch.object(assembly, "RecordDataset", lambda *_: records),
        patch.object(
            ParrotForConditionalGeneration, "connector", _aligned if case.get("frozen_moe") else learns
        ),
        Tower() as tower,
        _breaking(case.get("broken")),
    ):
        _train(case, folder, backbones, told)
    seen = {"images": records.seen, **tower.seen}
    (folder / f"seen-{rank()}.json").write_text(json.dumps(seen), encoding="utf-8")
    (folder / f"told-{rank()}.json").write_text(json.dumps(told), encoding="utf-8")


@contextmanager
def _breaking(name: str | None) -> Iterator[None]:
    """The batch of this record, if one is named, has pictures that make no number."""
    collate = WatchedCollator.__call__

    def breaking(self: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = collate(self, rows)
        if name in [row["id"] for row in rows]:
            batch["pixel_values"].fill_(float("nan"))
        return batch

    WatchedCollator.__call__ = breaking  # type: ignore[method-assign]
    try:
        yield
    finally:
        WatchedCollator.__call__ = collate  # type: ignore[method-assign]


def _train(case: dict[str, Any], folder: Path, backbones: Path, told: list[dict[str, float]]) -> None:
    deepspeed = case.get("deepspeed")
    training = {**TRAINING, **case.get("training", {})}
    training["deepspeed"] = str(DEEPSPEED / f"{deepspeed}.json") if deepspeed else None
    if case.get("offload"):
        training["deepspeed"] = _offloading(folder, Path(training["deepspeed"]))
    shared: dict[str, Any] = {"vision_feature_layer": -1, "max_length": 256}
    if case["architecture"] == "parrot":
        model: Any = ParrotArchitecture(architecture="parrot", projector="mlp2x_gelu", **shared)
    else:
        sizes = {"resampler_n_latents": 4, "resampler_depth": 1, "cross_layer_interval": 1}
        model = FlamingoArchitecture(architecture="flamingo", **sizes, **shared)
    paths: dict[str, Any] = {
        "records": folder, "mixture": folder, "vision": backbones / "vision",
        "language": backbones / "language", "output": folder / "output", "curve": folder / "curve.csv",
        "metrics": folder / "metrics.json",
        "run": TrainingRun(case["stage"], folder / "checkpoints", _killing(case, told)),
    }  # fmt: skip
    if case["stage"] == "align":
        align(Align(training=RatedTraining(**training, learning_rate=1e-2)), model, SEED, **paths)
        return
    params = Sft(
        learning_rate=1e-3, language_model_learning_rate=1e-3, lora=LORA if case.get("lora") else None,
        moe=MOE if case.get("moe") or case.get("frozen_moe") else None, training=Training(**training),
    )  # fmt: skip
    sft(params, model, SEED, aligned=Path(case["aligned"]), **paths)


def _offloading(folder: Path, file: Path) -> str:
    """A copy as docs/training.md tells people to make it; each rank's own."""
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
    copy = folder / f"offload-{os.environ['RANK']}.json"
    copy.write_text(json.dumps(settings), encoding="utf-8")
    return str(copy)


def _killing(case: dict[str, Any], told: list[dict[str, float]]) -> Any:
    """Notes what it is told, and dies by SIGKILL at the step `case` names, if it names one."""

    def report(metrics: dict[str, float], step: int) -> None:
        told.append({"step": step, **metrics})
        if step == case.get("dies_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    return report


def main(backbones: Path, cases: list[dict[str, Any]]) -> None:
    """As the command line does: the ranks of the first case run all of them."""
    training = Training(**{**TRAINING, **cases[0].get("training", {})})
    end_with_parents()
    if starts_ranks(training):
        launch(training.launch)
        return
    tell_deepspeed()
    with as_rank(training.launch):
        for case in cases:
            run_case(case, backbones)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    except ParrotError as error:
        sys.exit(f"parrot: {error}")
