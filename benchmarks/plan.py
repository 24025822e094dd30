"""What `parrot plan` counts beside what a training here takes, for small models in all the ways of training.

    python -m benchmarks.plan [NAME ...]

Each configuration is trained by `parrot.training.trainer.fit` in processes of its own. What is measured is
the most resident memory of rank 0 in the second step, less what it had before there was a model.
A tiny training comes first, with which libraries load.
"""

import argparse
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from parrot.config import (
    Align,
    FlamingoArchitecture,
    Launch,
    Lora,
    Moe,
    ParrotArchitecture,
    RatedTraining,
    Sft,
)
from parrot.config import Training as StageTraining

SEED, POSITIONS = 1, 448
SHORTER = (300, 200)
"""Positions of the second and the third sample of a batch, if it has them."""
LORA = Lora(rank=16, alpha=16, dropout=0.0, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
MOE = Moe(num_experts=6, intermediate_size=256, residual="token", weight=1.0)
CASES: dict[str, dict[str, Any]] = {
    "align": {"stage": "align"},
    "align, checkpointing": {"stage": "align", "checkpointing": True},
    "whole": {},
    "whole, checkpointing": {"checkpointing": True},
    "whole, experts": {"moe": MOE},
    "whole, accumulation": {"accumulation": 2},
    "whole, bfloat16": {"bf16": True},
    "LoRA": {"lora": LORA},
    "LoRA, checkpointing": {"lora": LORA, "checkpointing": True},
    "Flamingo, whole": {"flamingo": True},
    "Flamingo, LoRA, checkpointing": {"flamingo": True, "lora": LORA, "checkpointing": True},
    "whole, three samples padded": {"samples": 3},
    "whole, three samples packed": {"samples": 3, "packing": True},
    "LoRA, three packed, checkpointing": {"samples": 3, "packing": True, "lora": LORA, "checkpointing": True},
    "2 ranks": {"ranks": 2},
    "ZeRO-2": {"zero": 2, "ranks": 2},
    "ZeRO-2, checkpointing": {"zero": 2, "ranks": 2, "checkpointing": True},
    "ZeRO-2, LoRA": {"zero": 2, "ranks": 2, "lora": LORA},
    "ZeRO-3": {"zero": 3, "ranks": 2},
    "ZeRO-3, checkpointing": {"zero": 3, "ranks": 2, "checkpointing": True},
    "ZeRO-3, LoRA, checkpointing": {"zero": 3, "ranks": 2, "lora": LORA, "checkpointing": True},
}
ZERO = {"overlap_comm": True, "contiguous_gradients": True, "reduce_bucket_size": 4_000_000}
"""With buckets that are small beside the model, as DeepSpeed's are beside a large one."""


TOWER = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 3, "num_attention_heads": 4}
WORDS = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 6, "num_attention_heads": 8}
TINY = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def planned(case: dict[str, Any], folder: Path, **sizes: int) -> Any:
    """The plan of a case; a DeepSpeed JSON is put into `folder`."""
    from transformers import CLIPVisionConfig, Qwen2Config

    from parrot.training.plan import Plan

    deepspeed = folder / f"zero-{os.getpid()}.json"  # each rank writes its own
    auto = dict.fromkeys(("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_clipping"), "auto")
    optimization = {"stage": case.get("zero"), **ZERO}
    deepspeed.write_text(json.dumps({**auto, "zero_optimization": optimization}), encoding="utf-8")
    training: dict[str, Any] = {
        "max_steps": 2, "batch_size": case.get("samples", 1), "packing": case.get("packing", False),
        "warmup_steps": 0.0, "weight_decay": 0.0, "logging_steps": 1,
        "save_steps": 100, "gradient_checkpointing": case.get("checkpointing", False),
        "gradient_accumulation_steps": case.get("accumulation", 1), "bf16": case.get("bf16", False),
        "deepspeed": str(deepspeed) if "zero" in case else None,
        "launch": Launch(processes=case.get("ranks", 1)),
    }  # fmt: skip
    shared: dict[str, Any] = {"vision_feature_layer": -2, "max_length": POSITIONS}
    resampler: dict[str, Any] = {"resampler_n_latents": 16, "resampler_depth": 2, "cross_layer_interval": 2}
    stage: Align | Sft
    if case.get("stage") == "align":
        stage = Align(training=RatedTraining(learning_rate=1e-3, **training))
    else:
        rates = {"learning_rate": 1e-4, "language_model_learning_rate": 1e-4}
        stage = Sft(training=StageTraining(**training), lora=case.get("lora"), moe=case.get("moe"), **rates)
    return Plan(
        stage,
        FlamingoArchitecture(architecture="flamingo", **resampler, **shared)
        if case.get("flamingo")
        else ParrotArchitecture(architecture="parrot", projector="mlp2x_gelu", **shared),
        CLIPVisionConfig(**{**TOWER, **sizes}, image_size=112, patch_size=14),
        Qwen2Config(
            **{**WORDS, **sizes}, num_key_value_heads=4, vocab_size=12000, bos_token_id=None,
            eos_token_id=None, pad_token_id=0,
        ),
        on_cpu=True,
    )  # fmt: skip


def batch_of(joined: Any, case: dict[str, Any]) -> dict[str, Any]:
    """What each step of the case is given: its samples, padded."""
    from parrot.model.chat_text import IGNORE_INDEX
    from parrot.training.dry_run import made_up_batch

    batch = made_up_batch(joined, case.get("samples", 1), POSITIONS, 1)
    for row, length in enumerate(SHORTER[: case.get("samples", 1) - 1], start=1):
        batch["attention_mask"][row, length:] = 0
        batch["labels"][row, length:] = IGNORE_INDEX
    return batch


def train(name: str, folder: Path, **sizes: int) -> None:
    """Be a rank that trains the case; rank 0 writes its bytes into `folder`, as a file of its name."""
    from transformers import logging

    from parrot.hardware import tell_deepspeed
    from parrot.training.arguments import training_arguments
    from parrot.training.distributed import frozen_apart, whole_on_each_rank
    from parrot.training.packing import pack, samples_apart
    from parrot.training.trainer import ParameterGroup, TrainingRun, fit

    logging.set_verbosity_error()
    tell_deepspeed()
    plan = planned(CASES[name], folder, **sizes)

    def report(metrics: dict[str, float], step: int) -> None:
        if step == 1:
            Path("/proc/self/clear_refs").write_text("5")
        if step == plan.training.max_steps:
            (folder / name).write_text(str(resident("VmHWM") - base), encoding="utf-8")

    run = TrainingRun(name, folder / f"{name}{sizes}, checkpoints", report)
    arguments = training_arguments(plan.training, run, SEED)
    gc.collect()
    base = resident("VmRSS")
    with whole_on_each_rank(arguments):
        joined, groups = plan.made("cpu")
    batch = batch_of(joined, CASES[name])
    side, packing = plan.vision.image_size, plan.training.packing

    def collate(rows: list[int]) -> dict[str, Any]:
        import torch

        given = {**batch, "pixel_values": torch.zeros(len(rows), 3, side, side)}
        return pack(given) if packing else given

    with (
        frozen_apart(joined.model, "vision_tower", arguments),
        samples_apart(joined.model.language_model) if packing else nullcontext(),
    ):
        rates = [ParameterGroup(group, 1e-4) for group in groups]
        fit(
            joined, rates, list(range(64)), collate, plan.training, run,
            seed=SEED, lengths=[POSITIONS] * 64, arguments=arguments,
        )  # fmt: skip


def resident(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found
    return 1024 * int(found[1])


def measured(name: str) -> int:
    """Bytes of rank 0 at the fullest moment of a training of the case."""
    with tempfile.TemporaryDirectory() as folder:
        # Freed tensors go back to the system at once, so that resident memory is what is alive.
        settings = {
            "OMP_NUM_THREADS": "1",
            "MALLOC_MMAP_THRESHOLD_": "65536",
            "MALLOC_TRIM_THRESHOLD_": "65536",
        }
        command = [sys.executable, "-m", "benchmarks.plan", "--rank-in", folder, name]
        if ranks := CASES[name].get("ranks"):
            command[1:2] = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"]
        done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name}:\n{done.stdout[-2000:]}{done.stderr[-6000:]}")
        return int(Path(folder, name).read_text(encoding="utf-8"))


def compared(names: list[str]) -> Iterator[tuple[str, Counter[str], int]]:
    """Of each case: bytes by part as planned, bytes as measured."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            plan = planned(CASES[name], Path(folder))
            yield name, plan.memory(batch_of(plan.joined, CASES[name])), measured(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--rank-in", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank_in:
        from parrot.training.distributed import wait_for_all

        train(args.names[0], args.rank_in, **TINY)
        train(args.names[0], args.rank_in)
        wait_for_all()
        os._exit(0)  # an ordinary exit aborts now and then in the ranks' threads
    print(f"{'MB':30} {'planned':>8} {'measured':>9} {'off':>7}")
    for name, parts, found in compared(args.names or list(CASES)):
        told = ", ".join(f"{part} {size / 1e6:,.0f}" for part, size in parts.most_common())
        off = parts.total() / found - 1
        print(f"{name:30} {parts.total() / 1e6:8,.0f} {found / 1e6:9,.0f} {off:+7.1%}  {told}", flush=True)


if __name__ == "__main__":
    main()
