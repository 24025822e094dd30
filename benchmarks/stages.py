"""The pipeline as committed beside itself with one thing left out, over seeds.

    python benchmarks/stages.py [--seeds 1 2 3] [--output docs/stages.json]

Every run is a DVC experiment (`dvc exp run --temp -S …`), so that your workspace stays as it is and
what a run shares with another one comes from the cache. A result that is there already is kept:
an interrupted call goes on where it was.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import dvc.api

BASE = "everything"
VARIANTS: dict[str, list[str]] = {
    BASE: [],
    "no language pretraining": [
        "examples/picture_world/params.yaml:language.reading.max_steps=0",
        "examples/picture_world/params.yaml:language.letters.max_steps=0",
    ],
    "no alignment": ["align.training.max_steps=0"],
    "no MoE": ["sft.moe=null"],
}


def run(variant: str, changes: list[str], seed: int) -> dict[str, Any]:
    """Accuracies of one run, and the minutes beyond what the cache had."""
    name = f"{variant.replace(' ', '-').lower()}-seed-{seed}-{int(time.time())}"
    settings = [f"seed={seed}", *changes]
    began = time.monotonic()
    options = [part for setting in settings for part in ("--set-param", setting)]
    subprocess.run(["dvc", "exp", "run", "--temp", "--name", name, *options, "evaluate"], check=True)
    minutes = (time.monotonic() - began) / 60
    metrics = dvc.api.metrics_show("metrics/evaluate.json", rev=name)
    return {
        "accuracy": metrics["accuracy"],
        "blind": metrics["blind"],
        "minutes": round(minutes, 1),
    }


def table(results: dict[str, dict[str, Any]], seeds: list[int]) -> str:
    """Mean over the seeds, spread (standard deviation) of the six-language mean, and minutes."""
    languages = [key for key in next(iter(results.values()))["accuracy"] if key != "overall"]
    lines = [
        f"| | {' | '.join(languages)} | mean | spread | cost | blind | minutes |",
        "|---|" + "---:|" * (len(languages) + 5),
    ]
    base = mean(results[f"{BASE}/{seed}"]["accuracy"]["overall"] for seed in seeds)
    for variant in VARIANTS:
        runs = [results[f"{variant}/{seed}"] for seed in seeds]
        overall = [run["accuracy"]["overall"] for run in runs]
        cells = [f"{mean(run['accuracy'][language] for run in runs):.1%}" for language in languages]
        cells.append(f"**{mean(overall):.1%}**")
        cells.append(f"±{stdev(overall) * 100:.1f}" if len(overall) > 1 else "–")
        cells.append("–" if variant == BASE else f"{(base - mean(overall)) * 100:.1f}")
        cells.append(f"{mean(run['blind']['overall'] for run in runs):.1%}")
        cells.append(f"{mean(run['minutes'] for run in runs):.1f}")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output", type=Path, default=Path("docs/stages.json"))
    args = parser.parse_args()
    results = json.loads(args.output.read_text()) if args.output.exists() else {}
    for seed in args.seeds:
        for variant, changes in VARIANTS.items():
            key = f"{variant}/{seed}"
            if key not in results:
                print(f"━━ {key}", file=sys.stderr, flush=True)
                results[key] = run(variant, changes, seed)
                args.output.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results, args.seeds))


if __name__ == "__main__":
    main()
