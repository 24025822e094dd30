"""How fast records become a mixture that training may read, and how much memory that takes.

    python -m benchmarks.data [--records 200000 2000000] [--pictures 100000] [--processes 2] [--folder PATH]

Records of LLaVA's form without pictures go through `prepare` (read, checks), `mix` (duplicates, a
benchmark's questions, lengths in positions) and `validate` (contract, expectations), each in a process of
its own, which starts others. What costs most is measured apart, and with the first number of records alone:
`mix` where a fifth of the records must be tokenized, `validate` with its search for near duplicates and other
languages. The sum is of the others. If `datasets` is installed, its `map` makes the same records, as a peer.
With several numbers of records the last column says how much memory grows. Small pictures in a zip are
checked as `prepare` does it, and decoded by Pillow alone; they take turns.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.data_inputs import LANGUAGES, make_inputs
from benchmarks.data_pictures import IMAGES, check_pictures
from parrot.config import Mix, ParrotArchitecture, Prepare, Source, Speed, Validate

MODULE = "benchmarks.data"
STEPS = {
    "prepare": "prepare: read, checks",
    "mix": "mix: duplicates, benchmark, lengths",
    "mix tokenized": "mix, long records tokenized",
    "validate": "validate: contract, expectations",
    "validate near": "validate, near duplicates and languages too",
}
SUMMED = ("prepare", "mix", "validate")
PEER = {"datasets": "datasets, the map of prepare alone"}
LENGTH, NO_LENGTH = 2048, 1_000_000
"""Positions of a model: a fifth of the records may be longer; none is."""
LIMITS = Validate(min_records=1, max_duplicate_share=0.01, max_text_only_share=1.0,
                  english_share=[0.0, 1.0], min_language_share=0.0)  # fmt: skip
SEARCHED = {"max_near_duplicate_share": 1.0, "max_other_language_share": 1.0}


def run(step: str, folder: Path, processes: int) -> dict[str, float]:
    """Seconds, CPU seconds and MiB, of all processes at most; to be called in a process of its own."""
    call = _call(step, folder, processes)
    begun, cpu = time.perf_counter(), _cpu()
    call()
    seconds, used = time.perf_counter() - begun, _cpu() - cpu
    here, elsewhere = _peak(resource.RUSAGE_SELF), _peak(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu": used, "mib": here + (elsewhere * processes if processes > 1 else 0)}


def _call(step: str, folder: Path, processes: int) -> Callable[[], Any]:
    if step == "inputs":
        return lambda: make_inputs(folder, processes)
    if step == "datasets":
        return lambda: _datasets(folder, processes)
    source = Source(split="align", format="llava", path=str(folder / "talk"), files="{language}.jsonl",
                    images=str(folder / "talk"))  # fmt: skip
    speed = Speed(workers=0, inference_batch_size=1, inference_processes=1, prepare_processes=processes)
    prepared, mixture = folder / "prepared", folder / "mixture"
    stage = step.partition(" ")[0]
    common: dict[str, Any] = {"split": "align", "prepared": prepared, "metrics": folder / f"{stage}.json"}
    if stage == "prepare":
        from parrot.data.prepare import prepare

        del common["split"], common["prepared"]
        return lambda: prepare(
            LANGUAGES, IMAGES, Prepare(partition_records=5000, max_reject_share=0.0), {"talk": source}, speed,
            source="talk", output=prepared / "talk", work=folder / "work", **common,
        )  # fmt: skip
    length = LENGTH if step == "mix tokenized" else NO_LENGTH
    model = ParrotArchitecture(
        architecture="parrot", projector="linear", vision_feature_layer=-1, max_length=length
    )
    if stage == "mix":
        from parrot.data.mix import mix

        settings = Mix.model_validate(
            {"too_long": "cut", "max_reject_share": 1.0, "benchmarks": str(folder / "benchmark"),
             "align": {"talk": 1.0}, "sft": {"talk": 1.0}}
        )  # fmt: skip
        return lambda: mix(
            1, settings, model, IMAGES, speed, vision=folder / "vision", language=folder / "language",
            output=mixture, work=folder / f"work {step}", **common,
        )  # fmt: skip
    from parrot.validation.validate import validate

    limits = LIMITS.model_copy(update=SEARCHED) if step == "validate near" else LIMITS
    return lambda: validate(
        LANGUAGES, IMAGES, limits, model, speed, mixture=mixture, reports=folder / "reports",
        stamp=folder / "stamp.json", work=folder / "work", **common,
    )  # fmt: skip


def _datasets(folder: Path, processes: int) -> None:
    """The same map from entries to records by Hugging Face's `datasets`, which writes one file of them."""
    import datasets

    from parrot.data.digests import content_digests
    from parrot.data.records import talk_of, text_length
    from parrot.data.sources.described import to_record
    from parrot.data.sources.formats import format_of

    form = format_of("talk", "llava")

    def row(entry: dict[str, Any], number: int) -> dict[str, Any]:
        made = to_record(dict(entry), number, "en", "talk", None, form)
        turns = [{"role": message.role, "content": message.content} for message in made.messages]
        found = {
            "length": text_length(made.messages),
            "digest": content_digests(talk_of([made.messages]), [[]])[0],
        }
        return {"id": made.id, "source": "talk", "language": "en", "messages": turns, **found}

    files = sorted(map(str, (folder / "talk").glob("*.jsonl")))
    entries = datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(folder / "cache"))
    several = processes if processes > 1 else None  # in this one
    entries.map(row, with_indices=True, remove_columns=entries.column_names, num_proc=several)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _peak(who: int) -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(who).ru_maxrss / unit


def measure(step: str, folder: Path, number: int) -> dict[str, float]:
    command = [sys.executable, "-m", MODULE, "--run", step, str(folder), str(number)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _has_datasets() -> bool:
    from importlib.util import find_spec

    return find_spec("datasets") is not None


def _line(what: str, count: int, found: dict[str, float], base: float) -> str:
    cells = (f"{count:,}", f"{found['seconds']:,.1f}", f"{found['cpu'] / count * 1e6:,.1f}",
             f"{found['mib']:,.0f}", f"{found['mib'] / base - 1:+.0%}")  # fmt: skip
    return f"| {what} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[200_000, 2_000_000])
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2, help="of each stage, and of datasets' map")
    parser.add_argument("--folder", help="where there is room for the records, about 4 KB for each")
    parser.add_argument("--run", nargs=3, metavar=("STEP", "FOLDER", "NUMBER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        step, folder, number = args.run
        pictures = step == "pictures"
        told = check_pictures(Path(folder), int(number)) if pictures else run(step, Path(folder), int(number))
        print(json.dumps(told))
        return
    steps = STEPS | (PEER if _has_datasets() else {})
    print(f"{args.processes} processes, {os.cpu_count()} cores; MiB of all processes together\n")
    print(
        "| step | records | seconds | CPU µs a record | peak MiB | grows |", "|---|" + "---:|" * 5, sep="\n"
    )
    first: dict[str, float] = {}
    for count in args.records:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            measure("inputs", Path(folder), count)  # elsewhere: a process's peak begins with its parent's
            found: dict[str, dict[str, float]] = {}
            for step, what in steps.items():
                if step not in SUMMED and count != args.records[0]:
                    continue
                found[step] = measure(step, Path(folder), args.processes)
                first.setdefault(step, found[step]["mib"])
                print(_line(what, count, found[step], first[step]), flush=True)
        whole = {key: sum(found[step][key] for step in SUMMED) for key in ("seconds", "cpu")}
        whole["mib"] = max(found[step]["mib"] for step in SUMMED)
        first.setdefault("whole", whole["mib"])
        print(_line("**read, checks, duplicates, contract**", count, whole, first["whole"]), flush=True)
    if "datasets" not in steps:
        print(
            "\n`datasets` is not installed: without `pip install datasets` there is no peer to compare with."
        )
    if args.pictures:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            rates = measure("pictures", Path(folder), args.pictures)
        print(
            f"\n| {args.pictures:,} pictures of 256 × 192 | per CPU second | of Pillow's |",
            "|---|---:|---:|",
            sep="\n",
        )
        for name, what in (("pillow", "decoded by Pillow alone"), ("picture", "read and checked"),
                           ("record", "with their records (`parrot data check`)"),
                           ("look", "with looks, for near pictures, too")):  # fmt: skip
            print(f"| {what} | {rates[name]:,.0f} | {rates[f'{name} share']:.0%} |")


if __name__ == "__main__":
    main()
