"""Training on a CPU in one run: as it is, with AVX2 alone, and beside busy programs.

    python -m benchmarks.cpu [--stages vision language align sft] [--steps 60] [--busy 2]
        [--threads 1 2] [--repeats 1]

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

from examples.picture_world.sections import PictureWorld, load_picture_world
from parrot.config import Launch, Params
from parrot.hardware import tell_deepspeed, use_threads
from parrot.params import load_params

MODULE = "benchmarks.cpu"
TRAINED = ("vision", "language", "align", "sft")
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


def with_steps(steps: int) -> tuple[Params, PictureWorld]:
    """The choices of the project and of the example, for runs of `steps` steps by one process."""
    params, own = load_params(), load_picture_world()
    changes = {"max_steps": steps, "logging_steps": EVERY, "save_steps": steps + 1, "launch": Launch()}

    def changed(section: Any) -> dict[str, Any]:
        return {"training": section.training.model_copy(update=changes)}

    sections = {name: getattr(params, name) for name in ("align", "sft")}
    params = params.model_copy(update={n: s.model_copy(update=changed(s)) for n, s in sections.items()})
    vision = own.vision.model_copy(update=changed(own.vision))
    only_reads = {"letters": own.language.letters.model_copy(update={"max_steps": 0})}
    language = own.language.model_copy(update=changed(own.language) | only_reads)
    return params, own.model_copy(update={"vision": vision, "language": language})


def make_inputs(folder: Path, threads: int) -> None:
    """A small world, prepared, and what each stage leaves when it takes no step."""
    use_threads(threads)
    tell_deepspeed()
    from examples.picture_world.world.write_world import write_world
    from parrot.backbones.fit import fit
    from parrot.data.mix import mix
    from parrot.data.prepare import prepare
    from parrot.pipeline.checkpoints import WorkFolder

    params, own = with_steps(0)
    small = {"backbone_pictures": 1000, "reading_documents": 1500, "align_captions": 600,
             "align_questions": 600, "sft_pictures": 1200, "text_instructions": 60,
             "questions_per_category": 1}  # fmt: skip
    write_world(own.world.model_copy(update=small), folder / "data")
    for name in ("vision", "language"):
        train(name, params, own, folder)
        fit(str(folder / name), None, folder / "backbones" / name)
    sources = {
        name: source.model_copy(
            update={key: str(folder / getattr(source, key)) for key in ("path", "images")}
        )
        for name, source in params.sources.items()
    }
    mixture = params.mix.model_copy(update={"benchmarks": str(folder / "data/mmmb")})
    for name, source in sources.items():
        prepare(
            params.languages, params.images, params.prepare, sources, params.speed, source=name,
            output=folder / "prepared" / source.split / name, metrics=folder / "metrics.json",
            work=WorkFolder(folder / "work" / name),
        )  # fmt: skip
    for split in ("align", "sft"):
        mix(
            params.seed, mixture, params.model, params.images, params.speed, split=split,
            prepared=folder / "prepared" / split, output=folder / "mixtures" / split,
            vision=folder / "backbones/vision", language=folder / "backbones/language",
            metrics=folder / "metrics.json", work=WorkFolder(folder / "work" / split),
        )  # fmt: skip
        train(split, params, own, folder)


def train(stage: str, params: Params, own: PictureWorld, folder: Path) -> list[float]:
    """Run the stage, all its paths in one folder, and return the times of its logged steps."""
    from examples.picture_world.backbones.train_language import train_language
    from examples.picture_world.backbones.train_vision import train_vision
    from parrot.training.align import align
    from parrot.training.sft import sft
    from parrot.training.trainer import TrainingRun

    times: list[float] = []
    common: dict[str, Any] = {
        "output": folder / stage, "curve": folder / "curve.csv", "metrics": folder / "metrics.json",
        "run": TrainingRun(
            stage, folder / f"checkpoints-{stage}", lambda metrics, step: times.append(time.perf_counter())
        ),
    }  # fmt: skip
    if stage == "vision":
        train_vision(own.vision, params.seed, data=folder / "data/backbones", **common)
    elif stage == "language":
        train_language(own.language, params.seed, data=folder / "data/backbones/reading.jsonl", **common)
    else:
        common |= {"records": folder / "prepared" / stage, "mixture": folder / "mixtures" / stage}
        common |= {name: folder / "backbones" / name for name in ("vision", "language")}
        if stage == "align":
            align(params.align, params.model, params.seed, **common)
        else:
            sft(params.sft, params.model, params.seed, aligned=folder / "align", **common)
    return times


def measure(stage: str, folder: Path, threads: int, steps: int) -> dict[str, float]:
    """Steps and samples per second, without the first steps; to be called in a process of its own."""
    use_threads(threads)
    tell_deepspeed()
    params, own = with_steps(EVERY + steps)
    with tempfile.TemporaryDirectory() as place:
        for made in folder.iterdir():
            (Path(place) / made.name).symlink_to(made)
        (Path(place) / stage).unlink()
        times = train(stage, params, own, Path(place))
    section: Any = getattr(params if stage in ("align", "sft") else own, stage)
    rate = (len(times) - 1) * EVERY / (times[-1] - times[0])
    return {"steps": rate, "samples": rate * section.training.batch_size}


def measure_elsewhere(
    stage: str, way: Way, threads: int, folder: Path, args: argparse.Namespace
) -> dict[str, float]:
    command = [sys.executable, "-m", MODULE, "--threads", str(threads), "--steps", str(args.steps),
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


def _steps(text: str) -> int:
    if not text.isdecimal() or int(text) < EVERY:
        raise argparse.ArgumentTypeError(f"{text} are too few to be timed; take {EVERY} or more")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", nargs="+", choices=TRAINED, default=TRAINED)
    parser.add_argument("--steps", type=_steps, default=60, help=f"that are timed, after the first {EVERY}")
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
        subprocess.run([sys.executable, "-m", MODULE, "--make", inputs], check=True)
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
