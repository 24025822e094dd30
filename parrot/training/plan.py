"""What a training takes, before it takes it: memory by part, operations, disk; docs/training.md explains."""

import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from parrot.config import Align, Launch, Lora, Model, Sft, Training
from parrot.errors import ParrotError
from parrot.model.registered import VisionLanguageForConditionalGeneration, build
from parrot.training.assembly import options
from parrot.training.dry_run import Batch, bytes_of_step, in_one_row, made_up_batch, operations
from parrot.training.optimizer import hidden_matrices
from parrot.training.packing import samples_apart
from parrot.training.sft import learners

GIB = 2**30
LIBRARIES = 3 * GIB // 2
"""CUDA's context, the libraries' work spaces and what lies between allocations: an estimate, not measured."""
NF4_BYTES = 4.127 / 8
"""Of a weight in four bits, its share of the doubly quantized constants included (arXiv 2305.14314)."""
ZERO_SIZES = {
    "reduce_bucket_size": 500_000_000,
    "stage3_prefetch_bucket_size": 50_000_000,
    "stage3_max_live_parameters": 1_000_000_000,
}
"""DeepSpeed's own, in numbers, where its JSON does not say."""


@dataclass(frozen=True)
class Machine:
    """What it is planned for."""

    memory: float = 80.0
    """GiB of each accelerator."""
    price: float | None = None
    """Of an accelerator's hour."""
    mfu: float = 0.4
    """The share of `tflops` that a training reaches."""
    tflops: float = 312.0
    """What an accelerator does at most in bfloat16, dense; an A100's."""


@dataclass(frozen=True)
class Plan:
    """One stage, on configurations alone: no weights are read, and none are made."""

    stage: Align | Sft
    model: Model
    vision: Any
    language: Any
    """Configurations of the backbones."""
    on_cpu: bool = False
    """The device is the host, whose memory also has the tower as it was read."""

    @property
    def training(self) -> Training:
        return self.stage.training

    @property
    def lora(self) -> Lora | None:
        return self.stage.lora if isinstance(self.stage, Sft) else None

    @property
    def computes_in(self) -> int:
        """Bytes of a weight, where DeepSpeed trains in bfloat16 or float32."""
        return 2 if self.training.bf16 else 4

    @cached_property
    def joined(self) -> VisionLanguageForConditionalGeneration:
        """The model on `meta`, as the stage trains it: only what learns requires gradients."""
        return self._joined_with_groups[0]

    @property
    def learned(self) -> list[int]:
        """How many numbers learn, by group of parameters."""
        return [sum(parameter.numel() for parameter in group) for group in self._joined_with_groups[1]]

    @cached_property
    def _joined_with_groups(self) -> tuple[VisionLanguageForConditionalGeneration, list[list[nn.Parameter]]]:
        joined, groups = self.made("meta")
        return (joined.to(torch.bfloat16) if self._all_in_bf16 else joined), groups

    def made(self, device: str) -> tuple[VisionLanguageForConditionalGeneration, list[list[nn.Parameter]]]:
        """The model with weights of no meaning, in float32 as a training loads it, and its groups of
        parameters that learn."""
        moe = self.stage.moe if isinstance(self.stage, Sft) else None
        last = self.language.vocab_size - 1
        with torch.device(device):
            try:
                tower = AutoModel.from_config(self.vision, dtype=torch.float32)
                words = AutoModelForCausalLM.from_config(self.language, dtype=torch.float32)
                joined = build(
                    self.model.architecture, tower, words, image_token_id=last, **options(self.model, moe)
                )
            except ValueError as error:
                raise ParrotError(f"model: {error}") from None
            if isinstance(self.stage, Sft):
                *groups, _ = learners(joined, self.lora)
            else:
                groups = [list(joined.aligned().parameters())]
        joined.requires_grad_(False)
        for parameter in (parameter for group in groups for parameter in group):
            parameter.requires_grad_(True)
        return joined, groups

    @property
    def _all_in_bf16(self) -> bool:
        return self.training.bf16 and self.training.deepspeed is not None

    def batch(self, positions: int | None = None, images: int = 1) -> Batch:
        """The largest: all its samples of the most `positions`, with so many images, all text learned.

        Raises:
            ParrotError: so many positions hold no such sample.
        """
        positions = positions or self.model.max_length
        pictured = images * self.joined.config.image_seq_length
        if positions < pictured + 2:
            raise ParrotError(
                f"model.max_length: {positions} positions hold no sample: its image takes {pictured}, and "
                f"text stands before and after"
            )
        return made_up_batch(self.joined, self.training.batch_size, positions, images)

    def memory(self, batch: Batch) -> Counter[str]:
        """Bytes of an accelerator by part, when most of them are needed.

        Args:
            batch: samples that are padded, or were; with `packing` they are counted in one row.
        """
        held, step = self._zero() if self.training.deepspeed else self._whole()
        with samples_apart(self.joined.model.language_model) if self.training.packing else nullcontext():
            passing = bytes_of_step(
                self.joined,
                in_one_row(batch) if self.training.packing else batch,
                checkpointing=self.training.gradient_checkpointing,
                autocast=self.training.bf16 and not self._all_in_bf16,
                in_four_bits=self._in_four_bits,
                sharers=self._gradients_among,
                passes=min(2, self.training.gradient_accumulation_steps),
            )
        if not self.training.deepspeed:
            step["gradients"] += 4 * sum(self.learned)
        fullest = held + max(passing, step, key=Counter.total)
        return fullest if self.on_cpu else fullest + Counter(libraries=LIBRARIES)

    def _numbers(self) -> tuple[int, int]:
        """Of the tower, and of all else."""
        tower = sum(parameter.numel() for parameter in self.joined.model.vision_tower.parameters())
        return tower, sum(parameter.numel() for parameter in self.joined.parameters()) - tower

    @cached_property
    def _in_four_bits(self) -> set[Tensor]:
        """With QLoRA the language model's hidden matrices; adapters in it learn and are whole."""
        if not (self.lora and self.lora.load_in_4bit):
            return set()
        words = hidden_matrices(self.joined.model.language_model)
        return {matrix for matrix in words if not matrix.requires_grad}

    def _saved(self, size: int) -> int:
        """Bytes that four bits take less than `size` bytes of a weight."""
        return int((size - NF4_BYTES) * sum(matrix.numel() for matrix in self._in_four_bits))

    def _whole(self) -> tuple[Counter[str], Counter[str]]:
        """Without DeepSpeed: what is held throughout, and what else the optimizer's step needs."""
        learned = {parameter for group in self._joined_with_groups[1] for parameter in group}
        moments = 8 * sum(self.learned)
        if self.training.optimizer == "muon":
            moments -= 4 * sum(one.numel() for one in hidden_matrices(self.joined) & learned)
        held = Counter(weights=4 * sum(self._numbers()) - self._saved(4), optimizer=moments)
        if self.training.launch.ranks > 1:
            held["buffers"] = 4 * sum(self.learned)  # DistributedDataParallel's buckets
        return held, Counter()

    def _zero(self) -> tuple[Counter[str], Counter[str]]:
        """As `_whole`, under ZeRO."""
        zero = self.zero
        size, learned = self.computes_in, sum(self.learned)
        ranks = self.training.launch.ranks if zero["stage"] else 1
        on_device = not self._offloaded("offload_optimizer")  # optimizer and gradients
        tower, rest = self._numbers()
        held = Counter(weights=size * tower + 4 * tower * self.on_cpu)
        bucket = size * zero["reduce_bucket_size"]
        largest = max(self.learned) // ranks
        # torch's AdamW needs the root of the second moment, on a CPU twice; ZeRO a float32 gradient before.
        step = Counter(buffers=4 * largest * (1 + self.on_cpu))
        if zero["stage"] == 3:
            gathered = min(rest, zero["stage3_max_live_parameters"]) + zero["stage3_prefetch_bucket_size"]
            held += Counter(
                weights=0 if self._offloaded("offload_param") else size * rest // ranks,
                gradients=on_device * size * learned // ranks,
                buffers=bucket,
            )
            passing = Counter(buffers=size * min(gathered, 2 * rest))
            step["gradients"] = 4 * largest
        else:
            held["weights"] += size * rest - self._saved(size)
            passing = Counter(buffers=bucket * (1 + bool(zero.get("overlap_comm"))))
            step["gradients"] = size * learned // ranks + 4 * largest * self.training.bf16
        if on_device:
            held["optimizer"] = 12 * learned // ranks
        else:
            step = Counter()
        return held + passing, step - passing

    def _offloaded(self, what: str) -> bool:
        """Whether DeepSpeed's JSON puts it on the CPU or a disk."""
        return ((self.zero.get(what) or {}).get("device") or "none") != "none"

    @property
    def _gradients_among(self) -> int:
        """How many ranks share the gradients that a pass leaves; 0: they have a place of their own."""
        stage = self.zero["stage"]
        if stage == 3 or self._offloaded("offload_optimizer"):
            return 0
        return self.training.launch.ranks if stage else 1

    @property
    def zero(self) -> dict[str, Any]:
        """`zero_optimization` of DeepSpeed's JSON; "auto" as transformers fills it in."""
        if not self.training.deepspeed:
            return {"stage": 0}
        file = Path(self.training.deepspeed)
        try:
            told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["zero_optimization"]
        except (OSError, ValueError, KeyError) as error:
            raise ParrotError(f"{file}: is no DeepSpeed JSON with `zero_optimization`: {error}") from None
        square = self.language.hidden_size**2
        auto = {"reduce_bucket_size": square, "stage3_prefetch_bucket_size": int(0.9 * square)}
        return {
            "stage": 0,
            **told,
            **{
                key: int(auto.get(key, size) if told.get(key) == "auto" else told.get(key, size))
                for key, size in ZERO_SIZES.items()
            },
        }

    def operations(self, positions: int, images: int) -> int:
        """Of a sample of so many positions; see `parrot.training.dry_run.operations`."""
        return operations(self.joined, made_up_batch(self.joined, 1, positions, images))

    def disk(self) -> Counter[str]:
        """Bytes of what the stage leaves: two checkpoints and one that is being written, and its output."""
        _, rest = self._numbers()
        if self.training.deepspeed:
            checkpoint = self.computes_in * rest - self._saved(self.computes_in) + 12 * sum(self.learned)
        else:
            checkpoint = 4 * sum(self._numbers()) - self._saved(4) + 8 * sum(self.learned)
        output = 4 * (sum(self._numbers()) if isinstance(self.stage, Sft) else sum(self.learned))
        return Counter(checkpoints=3 * checkpoint, output=output)


def on(stage: Align | Sft, gpus: int) -> Align | Sft:
    """The same stage on another number of accelerators of one node, with as many samples a step.

    Raises:
        ParrotError: it does not divide.
    """
    training = stage.training
    passes, left = divmod(training.samples_a_step, training.batch_size * gpus)
    if left or not passes:
        raise ParrotError(
            f"--gpus {gpus}: {training.samples_a_step} samples a step are not {gpus} × {training.batch_size} "
            f"× a whole number"
        )
    changed = {"launch": Launch(processes=gpus), "gradient_accumulation_steps": passes}
    return stage.model_copy(update={"training": training.model_copy(update=changed)})


def configuration(folder: Path) -> Any:
    """Of a backbone; a tower's own, where it is published together with its text model.

    Raises:
        ParrotError: there is no `config.json` that transformers understands.
    """
    try:
        found = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ParrotError(f"{folder}/config.json: {' '.join(str(error).split())[:200]}") from None
    return getattr(found, "vision_config", found)


def sentence(parts: Counter[str], unit: str = "GiB") -> str:
    """Bytes by part, the largest first."""
    return ", ".join(f"{part} {size / GIB:,.1f}" for part, size in parts.most_common() if size) + f" {unit}"
