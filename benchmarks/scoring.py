"""How long `parrot score` takes, phase by phase, on files that it makes in a temporary folder.

    python -m benchmarks.scoring [--rows 120000] [--picture-kilobytes 2] [--protocol parrot]

Twelve files, as of the two known suites in six languages; a third of the answers are a bare letter, a
third a letter with its text, a third a sentence or two. Every fourth row holds a picture, which the next
three share, as rotations do.
"""

import argparse
import base64
import csv
import random
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from parrot.evaluation.benchmarks.suites import find_files, load_suites
from parrot.evaluation.scoring.score import EXTRACTORS, read_answered, score, score_file

WORDS = ["red", "blue", "dark blue", "a sailing boat", "两只狗", "бумага", "شجرة", "köpek", "três", "7"]
LONG = (
    "The picture is small, but the edges are clear and the light comes from the left side. "
    "Comparing every choice with what can be seen, one of them fits best. The answer is {}."
)


def make_rows(count: int, picture_bytes: int, seed: int) -> Iterator[tuple[dict[str, object], str]]:
    """Questions in four rotations, and what was answered."""
    draw = random.Random(seed)
    for number in range(count):
        main, turn = number // 4, number % 4
        if turn == 0:
            texts = draw.sample(WORDS, 4)
            picture = base64.b64encode(draw.randbytes(picture_bytes)).decode()
        turned = dict(zip("ABCD", [*texts[turn:], *texts[:turn]], strict=True))
        answer = "ABCD"[-turn]
        row = {"index": main + turn * 1_000_000, "question": "What is it?", "hint": "", **turned}
        row |= {"answer": answer, "category": f"category {main % 20}", "split": "dev"}
        said = draw.choice("ABCD")
        yield (
            row | {"image": str(main) if turn else picture},
            draw.choice([said, f"{said}. {turned[said]}", LONG.format(said)]),
        )


def write_files(folder: Path, rows: int, picture_bytes: int) -> None:
    names = [
        suite.file.format(language=language)
        for suite in load_suites().values()
        for language in suite.languages
    ]
    for place, name in enumerate(names):
        for kind in ("tsv", "pred"):
            (folder / kind).mkdir(exist_ok=True)
        made = list(make_rows(rows // len(names), picture_bytes, seed=place))
        write(folder / "tsv" / name, [row for row, _ in made])
        write(folder / "pred" / name, [{"index": row["index"], "prediction": text} for row, text in made])


def write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=120_000)
    parser.add_argument("--picture-kilobytes", type=int, default=2)
    parser.add_argument("--protocol", choices=EXTRACTORS, default="parrot")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, args.rows, args.picture_kilobytes * 1024)
        megabytes = sum(file.stat().st_size for file in folder.rglob("*.tsv")) / 2**20
        print(f"{args.rows} rows, {megabytes:.0f} MiB")
        seconds = dict.fromkeys(("read", *EXTRACTORS), 0.0)
        for file in find_files(folder / "tsv", load_suites()):
            began = time.process_time()
            answered = read_answered(file, folder / "pred")
            seconds["read"] += time.process_time() - began
            for protocol in EXTRACTORS:
                began = time.process_time()
                score_file(answered, protocol)
                seconds[protocol] += time.process_time() - began
        for phase, value in seconds.items():
            print(f"{phase:<20}{value:8.2f} s of CPU")
        began, used = time.perf_counter(), time.process_time()
        score(folder / "tsv", folder / "pred", protocol=args.protocol, output=folder / "report.json")
        print(f"parrot score in all {time.perf_counter() - began:8.2f} s")
        print(f"                    {time.process_time() - used:8.2f} s of CPU")
    print(f"peak memory         {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:8.0f} MiB")


if __name__ == "__main__":
    main()
