"""Training here beside a padded loop and TRL's `SFTTrainer`: same weights, same records, in one run.

    python -m benchmarks.training [--records 192] [--batch-size 16] [--threads 2] [--repeats 1] [--gpu]

Records are as long as LLaVA-1.5's (`benchmarks/training_records.py`); projector and language model learn,
the tower is frozen, all in float32 with AdamW. Each way sees all records once, in a process of its own:

- *padded*: a plain loop over batches of random order, padded to the longest, pictures decoded in the step;
- *TRL*: `SFTTrainer` on transformers' LLaVA of the same backbones, for the loss of the answers alone; once
  with its defaults (which checkpoint gradients and train the tower), once frozen and kept as here. Left out
  where it is not installed: `pip install --no-deps trl datasets xxhash multiprocess dill`;
- *here*: what both stages call, with packing and a worker that reads and decodes ahead.

*Real* positions are those of images and text, without padding. *Waiting* is what lies between the end of a
step and the next forward pass. *CPU s* are processors' seconds, which other programs on the machine hardly
change; the start of a `Trainer` is among them. The clock starts with the first forward pass after a training
of one step. With a GPU (`--gpu`, or where torch finds one) it prints `benchmarks/training_gpu.py` instead,
which was never run on one.
"""

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import training_records as made
from parrot.config import Training
from parrot.data.shards import RecordDataset
from parrot.hardware import tell_deepspeed
from parrot.model.chat_format import CHAT_TEMPLATE
from parrot.model.registered import ParrotProcessor, build_parrot
from parrot.training.conversations import ConversationCollator
from parrot.training.packing import samples_apart
from parrot.training.sft import learners
from parrot.training.trainer import ParameterGroup, TrainingRun, fit

MODULE = "benchmarks.training"
RATE = 1e-4
PADDED, HERE = "padded, decoded in the step", "here"
TRL_DEFAULT, TRL_ALIKE = "TRL, its defaults", "TRL, tower frozen, nothing computed again"
WARM_UP = 1
"""Steps before the clock starts."""


class Clock:
    """When forward passes began and steps ended, and how busy processors were from the first to the last."""

    def __init__(self, model: nn.Module) -> None:
        self.began: list[float] = []
        self.ended: list[float] = []
        self.busy = 0.0
        model.register_forward_pre_hook(lambda module, args: self.began.append(time.perf_counter()))

    def step_ends(self, *args: Any) -> None:
        self.ended.append(time.perf_counter())

    def restart(self) -> None:
        self.began.clear()
        self.ended.clear()
        self.busy = busy_seconds()

    def measured(self) -> dict[str, float]:
        """Seconds of all steps, of these the seconds of waiting for a batch, and processors' seconds."""
        assert len(self.began) == len(self.ended) > 1
        waits = [begin - end for end, begin in zip(self.ended[:-1], self.began[1:], strict=True)]
        seconds = self.ended[-1] - self.began[0]
        return {"seconds": seconds, "waiting": sum(waits), "busy": busy_seconds() - self.busy}


def busy_seconds() -> float:
    """Of all processors, for this process and those of its children that have ended."""
    return sum(os.times()[:4])


@dataclass(frozen=True)
class Work:
    """What a process is to do."""

    records: RecordDataset
    batch_size: int
    workers: int
    place: Path
    """A folder for checkpoints that nobody wants."""

    @property
    def steps(self) -> int:
        return len(self.records) // self.batch_size


def parrot_model() -> tuple[Any, ParrotProcessor]:
    tokenizer = made.make_tokenizer()
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_parrot(*made.make_backbones(), image_token_id=image, projector="mlp2x_gelu")
    processor = ParrotProcessor(
        made.make_image_processor(), tokenizer, image_seq_length=model.config.image_seq_length
    )
    return model, processor


def padded(work: Work) -> dict[str, float]:
    model, processor = parrot_model()
    collate = ConversationCollator(processor, made.MAX_LENGTH)
    model.model.vision_tower.requires_grad_(False)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=RATE, fused=True)
    order = torch.randperm(len(work.records), generator=torch.Generator().manual_seed(1)).tolist()
    clock = Clock(model)

    def train(steps: int) -> None:
        for begin in range(0, steps * work.batch_size, work.batch_size):
            batch = collate([work.records[number] for number in order[begin : begin + work.batch_size]])
            torch.autograd.backward(model(**batch).loss)
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            clock.step_ends()

    model.train()
    train(WARM_UP)
    clock.restart()
    train(work.steps)
    return clock.measured()


def here(work: Work) -> dict[str, float]:
    model, processor = parrot_model()
    collate = ConversationCollator(processor, made.MAX_LENGTH, packing=True)
    connector, words, _ = learners(model, None)
    clock = Clock(model)
    for name, steps in (("warm up", WARM_UP), ("measured", work.steps)):
        clock.restart()
        training = Training(
            max_steps=steps, batch_size=work.batch_size, warmup_steps=0.0, weight_decay=0.0, packing=True,
            logging_steps=1, save_steps=steps + 1,
        )  # fmt: skip
        run = TrainingRun(name, work.place / name, clock.step_ends, work.workers)
        with samples_apart(model.model.language_model):
            fit(
                model, [ParameterGroup(connector, RATE), ParameterGroup(words, RATE)], work.records, collate,
                training, run, seed=1, lengths=work.records.lengths,
            )  # fmt: skip
    return clock.measured()


def trl(work: Work, *, alike: bool) -> dict[str, float]:
    import datasets
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    tower, language_model = made.make_backbones()
    tokenizer = made.make_tokenizer()
    config = LlavaConfig(
        vision_config=tower.config, text_config=language_model.config,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2, vision_feature_select_strategy="full", image_seq_length=made.IMAGE_POSITIONS,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower, model.model.language_model = tower, language_model.model
    model.lm_head = language_model.lm_head
    if alike:
        tower.requires_grad_(False)
    processor = LlavaProcessor(
        made.make_image_processor(), tokenizer, patch_size=14, vision_feature_select_strategy="full",
        num_additional_image_tokens=1, chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    rows = [
        {
            "messages": [{**m, "content": m["content"].replace("<image>\n", "")} for m in row["messages"]],
            "images": [{"bytes": image, "path": None} for image in row["images"]],
        }
        for row in (work.records[number] for number in range(len(work.records)))
    ]
    columns = {"messages": [{"role": datasets.Value("string"), "content": datasets.Value("string")}]}
    features = datasets.Features({**columns, "images": datasets.List(datasets.Image())})
    dataset = datasets.Dataset.from_list(rows, features=features)
    clock = Clock(model)

    class Ends(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.step_ends()

    for steps in (WARM_UP, work.steps):
        clock.restart()
        settings = {"gradient_checkpointing": False} if alike else {}
        arguments = SFTConfig(
            output_dir=str(work.place), max_steps=steps, per_device_train_batch_size=work.batch_size,
            learning_rate=RATE, max_length=made.MAX_LENGTH, assistant_only_loss=True, bf16=False, seed=1,
            use_cpu=True, report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True,
            **settings,
        )  # fmt: skip
        trainer = SFTTrainer(model, arguments, train_dataset=dataset, processing_class=processor)
        trainer.add_callback(Ends())
        trainer.train()
    return clock.measured()


WAYS: dict[str, Callable[[Work], dict[str, float]]] = {
    PADDED: padded,
    TRL_DEFAULT: lambda work: trl(work, alike=False),
    TRL_ALIKE: lambda work: trl(work, alike=True),
    HERE: here,
}


def measure(way: str, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Seconds, and the peak in MB; to be called in a process of its own."""
    torch.set_num_threads(args.threads)
    tell_deepspeed()
    with tempfile.TemporaryDirectory() as place:
        work = Work(made.open_records(folder), args.batch_size, args.workers, Path(place))
        found = WAYS[way](work)
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return {**found, "peak": float(peak) / 1024}


def measure_elsewhere(way: str, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", MODULE, "--measure", way, str(folder)]
    for name in ("batch_size", "threads", "workers"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{way}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(results: dict[str, list[dict[str, float]]], samples: int, positions: int) -> str:
    """Rates, medians over the repeats; behind time and CPU time, how many times here's it is."""
    middle = {
        way: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for way, runs in results.items()
    }
    ours = middle.get(HERE, {"seconds": math.nan, "busy": math.nan})
    lines = [
        "| | samples/s | real positions/s | time | waiting | CPU s a sample | CPU time | peak MB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for way, found in middle.items():
        seconds, busy = found["seconds"], found["busy"]
        lines.append(
            f"| {way} | {samples / seconds:.2f} | {positions / seconds:,.0f} | "
            f"{seconds / ours['seconds']:.1f} | {found['waiting'] / seconds:.1%} | "
            f"{busy / samples:.2f} | {busy / ours['busy']:.1f} | {found['peak']:,.0f} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=192)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="that decode ahead, here")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY")
    parser.add_argument("--gpu", action="store_true", help="MFU and peak memory of published sizes instead")
    parser.add_argument(
        "--tflops", type=float, default=989.0, help="a GPU's, dense bfloat16 (989, an H100's)"
    )
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        way, folder = args.measure
        print(json.dumps(measure(way, Path(folder), args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        count = args.records // args.batch_size * args.batch_size
        made.write_records(Path(folder), count)
        if args.gpu or torch.cuda.is_available():
            from benchmarks.training_gpu import print_table

            print_table(Path(folder), tflops=args.tflops)
            return
        ways = [way for way in args.ways if not way.startswith("TRL") or importlib.util.find_spec("trl")]
        positions = sum(made.open_records(Path(folder)).positions)
        results: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(args.repeats):
            for way in ways:
                results[way].append(measure_elsewhere(way, Path(folder), args))
                print(f"{way}: {results[way][-1]}", file=sys.stderr, flush=True)
    mean = positions / count
    print(f"{count} records, {mean:.0f} positions each on average, batches of {args.batch_size}\n")
    print(table(results, count, positions))
    if len(ways) < len(args.ways):
        print("\nTRL is not installed: `pip install --no-deps trl datasets xxhash multiprocess dill`.")


if __name__ == "__main__":
    main()
