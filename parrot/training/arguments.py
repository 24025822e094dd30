"""What a training tells `Trainer`, and what that means: how many samples a step sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import TrainingArguments

from parrot.config import Training
from parrot.errors import ParrotError
from parrot.training.distributed import join_deepspeed

if TYPE_CHECKING:
    from parrot.training.trainer import TrainingRun


def training_arguments(training: Training, run: TrainingRun, seed: int) -> TrainingArguments:
    """What `Trainer` is told. With ZeRO-3, a model that is loaded while they exist is sharded as it is read.

    Raises:
        ParrotError: the device lacks the wanted precision, or this machine has fewer GPUs than processes.
    """
    gpus = torch.cuda.device_count()
    launch = training.launch
    if launch.kind == "torchrun" and 0 < gpus < launch.processes:
        raise ParrotError(
            f"{run.name}: training.launch.processes: {launch.processes} need a GPU each, and this machine "
            f"has {gpus}; start so many, or set training.use_cpu to true"
        )
    if (
        training.bf16
        and torch.cuda.is_available()
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise ParrotError(
            f"{run.name}: training.bf16: {torch.cuda.get_device_name()} has no bfloat16; set it to false"
        )
    arguments = TrainingArguments(
        output_dir=str(run.checkpoints),
        max_steps=training.max_steps,
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        activation_checkpointing=training.gradient_checkpointing,
        lr_scheduler_type="cosine",
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        max_grad_norm=1.0,
        optim="adamw_torch" if training.deepspeed else "adamw_torch_fused",
        bf16=training.bf16,
        deepspeed=training.deepspeed,
        use_cpu=not torch.cuda.is_available(),
        # The trainer writes this into the model's config, which is saved: without a cache every token that
        # is generated reads all before it again. While they learn the models keep none, whatever it says.
        use_cache=True,
        logging_steps=training.logging_steps,
        logging_nan_inf_filter=False,
        save_steps=training.save_steps,
        save_total_limit=2,
        seed=seed,
        data_seed=seed,
        remove_unused_columns=False,
        dataloader_num_workers=run.workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
        label_names=["labels"],
    )
    # One process takes one GPU of several: torch's DataParallel would part texts from their images.
    arguments._n_gpu = min(1, arguments.n_gpu)
    if training.deepspeed:
        join_deepspeed()
    return arguments


def effective_batch(training: Training, samples: int | None, positions: float) -> str:
    """In words: steps, samples a step, epochs of `samples` if their number is known, and positions; of each
    sample `positions` on average."""
    ranks, each, accumulation = (
        training.launch.ranks,
        training.batch_size,
        training.gradient_accumulation_steps,
    )
    seen = training.max_steps * training.samples_a_step
    epochs = "" if samples is None else f"{seen / max(1, samples):.2f} epochs of {samples:,} samples, "
    return (
        f"{training.max_steps:,} steps of {training.samples_a_step:,} samples ({ranks} "
        f"{'rank' if ranks == 1 else 'ranks'} × {each} × accumulation {accumulation}), "
        f"{epochs}about {seen * positions:,.0f} positions"
    )
