"""Training here beside a padded loop and TRL's `SFTTrainer`: same weights, same records, in one run.

    python -m benchmarks.training [--records 64] [--batch-size 16] [--threads 2] [--repeats 1] [--gpu]

Records are as long as LLaVA-1.5's (`benchmarks/training_records.py`); projector and language model learn,
the tower is frozen, all in float32 with AdamW. Each way sees all records once, in a process of its own:

- *padded*: a plain loop over batches of random order, padded to the longest, pictures decoded in the step;
- *TRL*: `SFTTrainer` on transformers' LLaVA of the same backbones, for the loss of the answers alone; once
  with its defaults (which checkpoint gradients and train the tower), once frozen and kept as here. Where it
  is not installed that is said, and the others are compared:
  `pip install --no-deps trl datasets xxhash multiprocess dill`;
- *here*: what both stages call, with packing and a worker that reads and decodes ahead.

*Real* positions are those of images and text, without padding. *Waiting* is what lies between the end of a
step and the next forward pass. *CPU s* are processors' seconds, which other programs on the machine hardly
change; the start of a `Trainer` is among them. The clock starts with the first forward pass after a training
of one step. A way that fails is shown with the end of its error. With a GPU (`--gpu`, or where torch finds
one) it prints `benchmarks/training_gpu.py` instead, which was never run on one.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks import training_records as made
from benchmarks.training_ways import Work, here, padded
from parrot.hardware import tell_deepspeed

MODULE = "benchmarks.training"
PADDED, HERE = "padded, decoded in the step", "here"
TRL_DEFAULT, TRL_ALIKE = "TRL, its defaults", "TRL, tower frozen, nothing computed again"
LONGEST = 1500
"""Seconds after which a way has failed."""


def with_trl(alike: bool) -> Callable[[Work], dict[str, float]]:
    def train(work: Work) -> dict[str, float]:
        from benchmarks.training_trl import trl

        return trl(work, alike=alike)

    return train


WAYS: dict[str, Callable[[Work], dict[str, float]]] = {
    PADDED: padded,
    TRL_DEFAULT: with_trl(alike=False),
    TRL_ALIKE: with_trl(alike=True),
    HERE: here,
}
Measured = dict[str, float]


def measure(way: str, folder: Path, args: argparse.Namespace) -> Measured:
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


def measure_elsewhere(way: str, folder: Path, args: argparse.Namespace) -> Measured | None:
    """None if it fails, which is said on stderr."""
    command = [sys.executable, "-m", MODULE, "--measure", way, str(folder)]
    for name in ("batch_size", "threads", "workers"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    try:
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        print(f"{way}: has not ended after {LONGEST} s", file=sys.stderr, flush=True)
        return None
    if done.returncode:
        print(f"{way}: failed\n{done.stdout[-1000:]}{done.stderr[-3000:]}", file=sys.stderr, flush=True)
        return None
    found: Measured = json.loads(done.stdout.splitlines()[-1])
    return found


def table(results: dict[str, list[Measured]], samples: int, positions: int) -> str:
    """Rates, medians over the repeats; behind time and CPU time, how many times here's it is."""
    middle = {
        way: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for way, runs in results.items()
        if runs
    }
    ours = middle.get(HERE)
    lines = [
        "| | samples/s | real positions/s | time | waiting | CPU s a sample | CPU time | peak MB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for way, found in middle.items():
        seconds, busy = found["seconds"], found["busy"]
        times = [f"{found[key] / ours[key]:.1f}" if ours else "–" for key in ("seconds", "busy")]
        lines.append(
            f"| {way} | {samples / seconds:.2f} | {positions / seconds:,.0f} | {times[0]} | "
            f"{found['waiting'] / seconds:.1%} | {busy / samples:.2f} | {times[1]} | {found['peak']:,.0f} |"
        )
    lines += [f"| {way} | failed | | | | | | |" for way, runs in results.items() if not runs]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=64)
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
        installed = all(importlib.util.find_spec(name) for name in ("trl", "datasets"))
        ways = [way for way in args.ways if installed or not way.startswith("TRL")]
        positions = sum(made.open_records(Path(folder)).positions)
        results: dict[str, list[Measured]] = {way: [] for way in ways}
        for _ in range(args.repeats):
            for way in ways:
                if found := measure_elsewhere(way, Path(folder), args):
                    results[way].append(found)
                    print(f"{way}: {found}", file=sys.stderr, flush=True)
    mean = positions / count
    print(f"{count} records, {mean:.0f} positions each on average, batches of {args.batch_size}\n")
    print(table(results, count, positions))
    if len(ways) < len(args.ways):
        print("\nTRL is not installed: `pip install --no-deps trl datasets xxhash multiprocess dill`.")


if __name__ == "__main__":
    main()
