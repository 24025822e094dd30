"""How fast records become a mixture that training may read, and how much memory that takes.

    python -m benchmarks.data [--records 200000 2000000] [--pictures 100000] [--processes 1] [--folder PATH]

Records of LLaVA's form without pictures, their lengths drawn as those of published instructions are, go
through `prepare` (read, checks), `mix` (deduplication, lengths in positions) and `validate` (contract,
expectations), each in a process of its own. With several numbers of records the last column says how much
memory grows. Small pictures in a zip are checked as `prepare` does it, and decoded by Pillow alone; the two
take turns. If `datasets` is installed, its `map` makes the same records, as a peer.
"""

import argparse
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from parrot.config import Images, Mix, ParrotArchitecture, Prepare, Source, Speed, Validate

MODULE = "benchmarks.data"
STEPS = ("prepare", "mix", "validate")
LANGUAGES = ["en", "zh"]
WORDS = 120
"""Median length of a record, in words; a tenth has more than four times as many."""
VOCABULARY = 6000
DUPLICATES = 200
"""Every so manieth record was there before."""
IMAGES = Images(max_megapixels=64, min_pixels=32, max_pixels=4096)
MODEL = ParrotArchitecture(
    architecture="parrot", projector="linear", vision_feature_layer=-1, max_length=2048
)
LIMITS = Validate(min_records=1, max_duplicate_share=0.01, max_text_only_share=1.0,
                  english_share=[0.0, 1.0], min_language_share=0.0)  # fmt: skip
TURN = 100  # pictures, until it is another's turn: other programs on the machine then disturb all alike


def records(count: int, seed: str) -> Iterator[dict[str, Any]]:
    draw = random.Random(seed)
    words = [
        "".join(draw.choices("etaoinshrdlucmfw", k=draw.choice((2, 3, 4, 5, 7, 9)))) for _ in range(5000)
    ]
    entry: dict[str, Any] = {}
    for number in range(count):
        if number % DUPLICATES:
            length = 4 + int(draw.lognormvariate(0, 1.1) * WORDS)
            text = draw.choices(words, k=min(length, 20 * WORDS))
            cut = max(1, len(text) // 4)
            talk = [("human", text[:cut]), ("gpt", [*text[cut:], str(number)])]
            turns = [{"from": who, "value": " ".join(said)} for who, said in talk]
            entry = {"id": f"{number:09d}", "conversations": turns}
        yield entry or {"id": seed, "conversations": [{"from": "human", "value": f"Is it {seed}?"},
                                                         {"from": "gpt", "value": "It is."}]}  # fmt: skip


def make_inputs(folder: Path, count: int) -> None:
    """A file for each language, a benchmark, and backbones without weights."""
    from transformers import CLIPVisionConfig, Qwen2Config

    from examples.picture_world.backbones.train_tokenizer import train_tokenizer

    for language in LANGUAGES:
        (folder / "talk").mkdir(exist_ok=True)
        with (folder / "talk" / f"{language}.jsonl").open("w") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in records(count // len(LANGUAGES), language))
    (folder / "benchmark").mkdir()
    (folder / "benchmark" / "en.tsv").write_text("index\timage\n0\t0\n")
    CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
                     image_size=16, patch_size=8).save_pretrained(folder / "vision")  # fmt: skip
    language = folder / "language"
    Qwen2Config(vocab_size=VOCABULARY, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                num_attention_heads=1, num_key_value_heads=1).save_pretrained(language)  # fmt: skip
    texts = [turn["value"] for entry in records(2000, "en") for turn in entry["conversations"]]
    train_tokenizer(texts, VOCABULARY, language).save_pretrained(language)


def run(step: str, folder: Path, processes: int) -> dict[str, float]:
    """Seconds, CPU seconds and MiB; to be called in a process of its own."""
    call = _call(step, folder, processes)
    begun, cpu = time.perf_counter(), _cpu()
    call()
    seconds, used = time.perf_counter() - begun, _cpu() - cpu
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu": used, "mib": max(_peak(whose) for whose in who)}


def _call(step: str, folder: Path, processes: int) -> Callable[[], Any]:
    if step == "inputs":
        return lambda: make_inputs(folder, processes)
    if step == "datasets":
        return lambda: _datasets(folder, processes)
    source = Source(split="align", format="llava", path=str(folder / "talk"), files="{language}.jsonl",
                    images=str(folder / "talk"))  # fmt: skip
    speed = Speed(workers=0, inference_batch_size=1, inference_processes=1, prepare_processes=processes)
    prepared, mixture = folder / "prepared", folder / "mixture"
    common = {"split": "align", "prepared": prepared, "metrics": folder / f"{step}.json"}
    if step == "prepare":
        from parrot.data.prepare import prepare

        del common["split"], common["prepared"]
        return lambda: prepare(
            LANGUAGES, IMAGES, Prepare(partition_records=5000, max_reject_share=0.0), {"talk": source}, speed,
            source="talk", output=prepared / "talk", work=folder / "work", **common,
        )  # fmt: skip
    if step == "mix":
        from parrot.data.mix import mix

        settings = Mix.model_validate(
            {"too_long": "cut", "max_reject_share": 1.0, "benchmarks": str(folder / "benchmark"),
             "align": {"talk": 1.0}, "sft": {"talk": 1.0}}
        )  # fmt: skip
        return lambda: mix(
            1, settings, MODEL, IMAGES, vision=folder / "vision", language=folder / "language",
            output=mixture, **common,
        )  # fmt: skip
    from parrot.validation.validate import validate

    return lambda: validate(
        LANGUAGES, IMAGES, LIMITS, MODEL, mixture=mixture, reports=folder / "reports",
        stamp=folder / "stamp.json", **common,
    )  # fmt: skip


def _datasets(folder: Path, processes: int) -> None:
    """The same map from entries to records by Hugging Face's `datasets`, without checks."""
    import datasets

    from parrot.data.records import to_row
    from parrot.data.sources.described import to_record
    from parrot.data.sources.formats import format_of

    form = format_of("talk", "llava")
    files = sorted(map(str, (folder / "talk").glob("*.jsonl")))
    entries = datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(folder / "cache"))
    entries.map(
        lambda entry, number: to_row(to_record(entry, number, "en", "talk", None, form)),
        with_indices=True, remove_columns=entries.column_names, num_proc=processes,
    )  # fmt: skip


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _peak(who: int) -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(who).ru_maxrss / unit


def check_pictures(folder: Path, count: int) -> dict[str, float]:
    """Pictures per CPU second out of an archive, and by Pillow alone out of memory; they take turns."""
    from parrot.data.images import check_image
    from parrot.data.sources.reading import SourceReader

    draw = np.random.default_rng(0)
    names = [f"{number:07d}.jpg" for number in range(count)]
    pictures = []
    for _ in range(50):
        blurred = PIL.Image.fromarray(draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((256, 192))
        file = io.BytesIO()
        blurred.save(file, "JPEG", quality=85)
        pictures.append(file.getvalue())
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, pictures[number % len(pictures)])
    source = Source(split="align", format="llava", path="pictures.json", language="en",
                    images=str(folder / "images.zip"))  # fmt: skip
    reader = SourceReader("pictures", source, IMAGES)
    assert reader.store
    read = reader.store.read
    talk = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A picture."}]

    def pillow(number: int) -> None:
        with PIL.Image.open(io.BytesIO(pictures[number % len(pictures)])) as image:
            image.convert("RGB")

    def picture(number: int) -> None:
        check_image(read(names[number]), IMAGES.max_megapixels)

    def record(number: int) -> None:
        reader.record("en", number, {"id": number, "image": names[number], "conversations": talk})

    jobs = (pillow, picture, record)
    for job in jobs:
        job(0)  # else the first turn pays for Pillow's start
    spent: dict[str, list[float]] = {job.__name__: [] for job in jobs}
    for start in range(0, count, TURN):
        for job in jobs:
            begun = time.process_time()
            for number in range(start, min(start + TURN, count)):
                job(number)
            spent[job.__name__].append(time.process_time() - begun)
        jobs = (*jobs[1:], jobs[0])
    alone = np.array(spent["pillow"])
    shares = {f"{name} share": float(np.median(alone / turns)) for name, turns in spent.items()}
    return {name: count / sum(turns) for name, turns in spent.items()} | shares


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[200_000, 2_000_000])
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=1, help="of prepare, and of datasets' map")
    parser.add_argument("--folder", help="where there is room for the records, about 4 KB for each")
    parser.add_argument("--run", nargs=3, metavar=("STEP", "FOLDER", "NUMBER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        step, folder, number = args.run
        pictures = step == "pictures"
        found = (
            check_pictures(Path(folder), int(number)) if pictures else run(step, Path(folder), int(number))
        )
        print(json.dumps(found))
        return
    steps = [*STEPS, "datasets"] if _has_datasets() else STEPS
    print(
        "| step | records | records/s | per CPU second | peak MiB | grows |", "|---|" + "---:|" * 5, sep="\n"
    )
    first: dict[str, float] = {}
    for count in args.records:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            measure("inputs", Path(folder), count)  # elsewhere: a process's peak begins with its parent's
            for step in steps:
                found = measure(step, Path(folder), args.processes)
                base = first.setdefault(step, found["mib"])
                cells = (f"{count:,}", f"{count / found['seconds']:,.0f}", f"{count / found['cpu']:,.0f}",
                         f"{found['mib']:,.0f}", f"{found['mib'] / base - 1:+.0%}")  # fmt: skip
                print(f"| {step} | {' | '.join(cells)} |", flush=True)
    if args.pictures:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            found = measure("pictures", Path(folder), args.pictures)
        print(
            f"\n| {args.pictures:,} pictures of 256 × 192 | per CPU second | of Pillow's |",
            "|---|---:|---:|",
            sep="\n",
        )
        for name, what in (("pillow", "decoded by Pillow alone"), ("picture", "read and checked"),
                           ("record", "with their records (`parrot data check`)")):  # fmt: skip
            print(f"| {what} | {found[name]:,.0f} | {found[f'{name} share']:.0%} |")


if __name__ == "__main__":
    main()
