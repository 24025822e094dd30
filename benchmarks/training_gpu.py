"""MFU and peak memory of training on a GPU, for the sizes of published models with weights of no meaning.

Called by `python -m benchmarks.training --gpu`. It was never run: no GPU was at hand. What it aims at is
above 40 % on an H100.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionConfig, Qwen2Config

from benchmarks import training_records as made
from parrot.config import Align, Lora, ParrotArchitecture, RatedTraining, Sft, Training
from parrot.data.shards import RecordDataset
from parrot.model.registered import ParrotProcessor
from parrot.training.conversations import ConversationCollator
from parrot.training.dry_run import operations
from parrot.training.packing import samples_apart
from parrot.training.plan import GIB, Plan
from parrot.training.trainer import ParameterGroup, TrainingRun, fit

STEPS, WARM_UP = 12, 4
TOWER = CLIPVisionConfig(
    hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
    patch_size=14,
)  # fmt: skip
SHAPE: dict[str, Any] = {
    "vocab_size": 151_936, "bos_token_id": None, "eos_token_id": None, "pad_token_id": 2,
    "tie_word_embeddings": False,
}  # fmt: skip
SMALL = Qwen2Config(
    hidden_size=2048, intermediate_size=5504, num_hidden_layers=24, num_attention_heads=16,
    num_key_value_heads=16, **SHAPE,
)  # fmt: skip
LARGE = Qwen2Config(
    hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
    num_key_value_heads=32, **SHAPE,
)  # fmt: skip
LORA = Lora(rank=16, alpha=16, dropout=0.0, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])


@dataclass(frozen=True)
class Case:
    name: str
    language: Qwen2Config
    stage: type[Align] | type[Sft]
    batch_size: int
    lora: Lora | None = None

    def plan(self) -> Plan:
        training: dict[str, Any] = {
            "max_steps": STEPS, "batch_size": self.batch_size, "warmup_steps": 0.0, "weight_decay": 0.0,
            "logging_steps": 1, "save_steps": STEPS + 1, "bf16": True, "packing": True,
            "gradient_checkpointing": self.lora is not None,
        }  # fmt: skip
        stage: Align | Sft
        if self.stage is Align:
            stage = Align(training=RatedTraining(learning_rate=1e-3, **training))
        else:
            rates = {"learning_rate": 2e-5, "language_model_learning_rate": 2e-5}
            stage = Sft(training=Training(**training), lora=self.lora, moe=None, **rates)
        model = ParrotArchitecture(
            architecture="parrot", projector="mlp2x_gelu", vision_feature_layer=-2, max_length=made.MAX_LENGTH
        )
        return Plan(stage, model, TOWER, self.language)


CASES = (
    Case("Qwen1.5-1.8B, align", SMALL, Align, 16),
    Case("Qwen1.5-1.8B, sft", SMALL, Sft, 8),
    Case("Qwen1.5-7B, sft by LoRA", LARGE, Sft, 4, LORA),
)


def print_table(folder: Path, *, tflops: float) -> None:
    """Train each case on the records of `folder`.

    Args:
        tflops: the GPU's, dense bfloat16.
    """
    if not torch.cuda.is_available():
        raise SystemExit("--gpu: torch finds no GPU; without the flag it compares ways of training on a CPU")
    records = made.open_records(folder)
    print(f"{torch.cuda.get_device_name()}, {tflops:g} TFLOPS\n")
    print("| | samples/s | MFU | peak GiB | planned GiB |\n|---|---:|---:|---:|---:|")
    for case in CASES:
        seconds, done, peak = train(case, records)
        plan = case.plan()
        planned = plan.memory(plan.batch()).total() / GIB
        samples = (STEPS - WARM_UP) * case.batch_size
        mfu = done / seconds / (tflops * 1e12)
        print(f"| {case.name} | {samples / seconds:.1f} | {mfu:.1%} | {peak / GIB:.1f} | {planned:.1f} |")


def train(case: Case, records: RecordDataset) -> tuple[float, int, int]:
    """Seconds and operations of the steps after `WARM_UP`, and the bytes of the fullest moment."""
    plan = case.plan()
    model, groups = plan.made("cuda")
    tokenizer = made.make_tokenizer()
    for joined in (model, plan.joined):
        joined.config.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    processor = ParrotProcessor(made.make_image_processor(), tokenizer, image_seq_length=made.IMAGE_POSITIONS)
    collate = ConversationCollator(processor, made.MAX_LENGTH, packing=True)
    ends: list[float] = []

    def step_ended(metrics: dict[str, float], step: int) -> None:
        torch.cuda.synchronize()
        ends.append(time.perf_counter())

    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as place, samples_apart(model.model.language_model):
        run = TrainingRun(case.name, Path(place, "checkpoints"), step_ended, workers=8)
        fit(
            model, [ParameterGroup(group, 1e-5) for group in groups], records, collate, plan.training, run,
            seed=1, lengths=records.lengths,
        )  # fmt: skip
    each = sum(operations_of(plan, collate([records[number]])) for number in range(32)) / 32
    operations_done = round(each * (STEPS - WARM_UP) * case.batch_size)
    return ends[-1] - ends[WARM_UP - 1], operations_done, torch.cuda.max_memory_allocated()


def operations_of(plan: Plan, row: dict[str, Any]) -> int:
    """Of one record, as docs/training.md defines the MFU's."""
    return operations(plan.joined, {name: row[name] for name in ("input_ids", "labels")})
