"""Training on a CPU in one run: as it is, with AVX2 alone, and beside busy programs.

    python benchmarks/cpu.py [--stages backbones-vision backbones-language align sft] [--steps 60]
        [--busy 2] [--threads 1 2] [--repeats 1]

Each stage that trains does a few steps of its real size, with each number of threads in a process of
its own, over a small world made for it; weights start at random, which costs as much. *Busy* programs
each count as fast as they can. The ways take turns, so that a machine that slows down slows all. The
machine must be idle otherwise. `GOMP_SPINCOUNT` and `KMP_BLOCKTIME` are taken from the environment.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parrot.stages import STAGES

from parrot.config import Params
from parrot.hardware import tell_deepspeed, use_threads
from parrot.params import load_params

TRAINED = ("backbones-vision", "backbones-language", "align", "sft")
EVERY = 10  # steps between two looks at the clock


@dataclass(frozen=True)
class Way:
    """A column of the table."""

    name: str
    busy: int = 0
    environment: dict[str, str] = field(default_factory=dict)


def ways(busy: int) -> list[Way]:
    avx2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    return [Way("native"), Way("AVX2", environment=avx2), Way(f"native, beside {busy} busy", busy)]


@contextlib.contextmanager
def busy_programs(number: int) -> Iterator[None]:
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def paths_of(stage: str, folder: Path) -> dict[str, Path]:
    """The stage's paths, all in one folder."""
    known = {
        "data": {"backbones-vision": "data/backbones", "backbones-language": "data/backbones/reading.jsonl"},
        "records": {"align": "prepared/align", "sft": "prepared/sft"},
        "vision": {stage: "backbones-vision"},
        "language": {stage: "backbones-language"},
        "aligned": {stage: "align"},
        "output": {stage: "prepared" if stage == "prepare" else stage},
        "curve": {stage: f"{stage}.csv"},
        "metrics": {stage: f"{stage}.json"},
    }
    return {path: folder / known[path][stage] for path in STAGES[stage].paths}


def with_steps(params: Params, steps: int) -> Params:
    """The same choices for a run of `steps` steps."""
    tree = params.model_dump(by_alias=True)
    for section in (tree["backbones"]["vision"], tree["backbones"]["language"], tree["align"], tree["sft"]):
        section["training"] |= {"max_steps": steps, "logging_steps": EVERY, "save_steps": steps + 1}
    return Params.model_validate(tree)


def make_inputs(folder: Path, threads: int) -> None:
    """A small world, prepared, and what each stage leaves when it takes no step."""
    use_threads(threads)
    tell_deepspeed()
    from examples.picture_world.world.write_world import write_world

    params = with_steps(load_params(), 0)
    small = {"backbone_pictures": 1000, "reading_documents": 1500, "align_captions": 600,
             "align_questions": 600, "sft_pictures": 1200, "text_instructions": 60,
             "questions_per_category": 1}  # fmt: skip
    write_world(params.world.model_copy(update=small), folder / "data")
    tree = params.model_dump(by_alias=True)
    tree["prepare"]["benchmarks"] = []
    for source in (*tree["prepare"]["align"], *tree["prepare"]["sft"]):
        for key in ("path", "images"):
            source[key] = source[key] and str(folder / source[key])
    params = Params.model_validate(tree)
    for stage in STAGES:
        if stage in TRAINED:
            run_stage(stage, params, folder)
        elif stage == "prepare":
            STAGES[stage].load()(**STAGES[stage].choices(params), **paths_of(stage, folder))


def run_stage(stage: str, params: Params, folder: Path) -> list[float]:
    """Run it and return the times of its logged steps."""
    from parrot.training.trainer import Run

    times: list[float] = []
    run = Run(stage, folder / f"checkpoints-{stage}", lambda metrics, step: times.append(time.perf_counter()))
    STAGES[stage].load()(**STAGES[stage].choices(params), **paths_of(stage, folder), run=run)
    return times


def measure(stage: str, folder: Path, threads: int, steps: int) -> dict[str, float]:
    """Steps and samples per second, without the first steps; to be called in a process of its own."""
    use_threads(threads)
    tell_deepspeed()
    params = with_steps(load_params(), EVERY + steps)
    with tempfile.TemporaryDirectory() as own:
        for made in folder.iterdir():
            (Path(own) / made.name).symlink_to(made)
        (Path(own) / stage).unlink()
        times = run_stage(stage, params, Path(own))
    section: Any = STAGES[stage].choices(params)["params"]
    rate = (len(times) - 1) * EVERY / (times[-1] - times[0])
    return {"steps": rate, "samples": rate * section.training.batch_size}


def measure_elsewhere(
    stage: str, way: Way, threads: int, folder: Path, args: argparse.Namespace
) -> dict[str, float]:
    command = [sys.executable, __file__, "--threads", str(threads), "--steps", str(args.steps),
               "--measure", stage, str(folder)]  # fmt: skip
    with busy_programs(way.busy):
        done = subprocess.run(command, env=os.environ | way.environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(results: dict[str, dict[str, list[dict[str, float]]]], columns: list[Way]) -> str:
    """Samples per second (steps per second), and how many times slower than native each is."""
    lines = [f"| stage | {' | '.join(way.name for way in columns)} |", "|---|" + "---:|" * len(columns)]
    for stage, by_way in results.items():
        samples = {name: statistics.median(r["samples"] for r in runs) for name, runs in by_way.items()}
        steps = {name: statistics.median(r["steps"] for r in runs) for name, runs in by_way.items()}
        first = samples[columns[0].name]
        cells = [
            f"{samples[way.name]:.0f} samples/s, {steps[way.name]:.1f} steps/s"
            + (f" (÷ {first / samples[way.name]:.2f})" if way != columns[0] else "")
            for way in columns
        ]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", nargs="+", choices=TRAINED, default=TRAINED)
    parser.add_argument("--steps", type=int, default=60, help="that are timed, after the first ten")
    parser.add_argument("--busy", type=int, default=2, help="programs beside it")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="each is a row")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--measure", nargs=2, metavar=("STAGE", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        return make_inputs(args.make, args.threads[0])
    if args.measure:
        stage, folder = args.measure
        print(json.dumps(measure(stage, Path(folder), args.threads[0], args.steps)))
        return None
    columns = ways(args.busy)
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as inputs:
        print("making a small world …", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, __file__, "--make", inputs], check=True)
        for stage in args.stages:
            rows = {threads: f"{stage}, threads: {threads}" for threads in args.threads}
            results |= {row: {way.name: [] for way in columns} for row in rows.values()}
            for _ in range(args.repeats):
                for threads, row in rows.items():
                    for way in columns:
                        print(f"{row}: {way.name} …", file=sys.stderr, flush=True)
                        found = measure_elsewhere(stage, way, threads, Path(inputs), args)
                        results[row][way.name].append(found)
    print(table(results, columns))
    return None


if __name__ == "__main__":
    main()
