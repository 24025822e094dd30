"""The pipeline as committed beside itself with one thing left out or made otherwise, over seeds.

    python benchmarks/stages.py [--study stages | moe] [--seeds 1 2 3] [--output docs/stages.json]

Every run is a DVC experiment (`dvc exp run --temp -S …`), so that your workspace stays as it is and
what a run shares with another one comes from the cache. A result that is there already is kept:
an interrupted call goes on where it was.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import dvc.api

BASE = "everything"
EVERY_LOSS = "sft.training.logging_steps=1"
STUDIES: dict[str, dict[str, list[str]]] = {
    "stages": {
        BASE: [],
        "no language pretraining": ["backbones.language.training.max_steps=0"],
        "no alignment": ["align.training.max_steps=0"],
        "no MoE": ["sft.moe.enabled=false"],
    },
    "moe": {
        BASE: [EVERY_LOSS],
        # With weight 1 this is x + M(x) as in `token`, but the experts start at random.
        "random start": [EVERY_LOSS, "sft.moe.residual=released", "sft.moe.weight=1.0"],
        "as released": [EVERY_LOSS, "sft.moe.residual=released", "sft.moe.weight=0.1"],
        "no residual": [EVERY_LOSS, "sft.moe.residual=none"],
    },
}
FIRST_STEPS = 100
SHOWN = 20
"""The table shows the mean loss of this many steps; the file holds every one that was logged."""


def run(variant: str, changes: list[str], seed: int) -> dict[str, Any]:
    """Accuracies of one run, stage two's first losses, and the minutes beyond what the cache had."""
    name = f"{variant.replace(' ', '-').lower()}-seed-{seed}-{int(time.time())}"
    settings = [f"seed={seed}", *changes]
    began = time.monotonic()
    options = [part for setting in settings for part in ("--set-param", setting)]
    subprocess.run(["dvc", "exp", "run", "--temp", "--name", name, *options, "evaluate"], check=True)
    minutes = (time.monotonic() - began) / 60
    metrics = dvc.api.metrics_show("metrics/evaluate.json", rev=name)
    rows = csv.DictReader(dvc.api.read("plots/sft.csv", rev=name).splitlines())
    losses = {row["step"]: float(row["loss"]) for row in rows if float(row["step"]) <= FIRST_STEPS}
    return {
        "accuracy": metrics["accuracy"],
        "blind": metrics["blind"],
        "first_losses": losses,
        "minutes": round(minutes, 1),
    }


def table(results: dict[str, dict[str, Any]], variants: Iterable[str], seeds: list[int]) -> str:
    """Mean over the seeds, spread (standard deviation) of the six-language mean, and minutes."""
    languages = [key for key in next(iter(results.values()))["accuracy"] if key != "overall"]
    lines = [
        f"| | {' | '.join(languages)} | mean | spread | cost | blind | first losses | minutes |",
        "|---|" + "---:|" * (len(languages) + 6),
    ]
    base = mean(results[f"{BASE}/{seed}"]["accuracy"]["overall"] for seed in seeds)
    for variant in variants:
        runs = [results[f"{variant}/{seed}"] for seed in seeds]
        overall = [run["accuracy"]["overall"] for run in runs]
        cells = [f"{mean(run['accuracy'][language] for run in runs):.1%}" for language in languages]
        cells.append(f"**{mean(overall):.1%}**")
        cells.append(f"±{stdev(overall) * 100:.1f}" if len(overall) > 1 else "–")
        cells.append("–" if variant == BASE else f"{(base - mean(overall)) * 100:.1f}")
        cells.append(f"{mean(run['blind']['overall'] for run in runs):.1%}")
        cells.append(" ".join(f"{loss:.2f}" for loss in first_losses(runs)))
        cells.append(f"{mean(run['minutes'] for run in runs):.1f}")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def first_losses(runs: list[dict[str, Any]]) -> list[float]:
    """The runs' mean loss of each SHOWN steps up to FIRST_STEPS."""
    groups: dict[int, list[float]] = {}
    for run in runs:
        for step, loss in run["first_losses"].items():
            groups.setdefault((int(step) - 1) // SHOWN, []).append(loss)
    return [mean(group) for _, group in sorted(groups.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", choices=STUDIES, default="stages")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output", type=Path, default=Path("docs/stages.json"))
    args = parser.parse_args()
    results = json.loads(args.output.read_text()) if args.output.exists() else {}
    for seed in args.seeds:
        for variant, changes in STUDIES[args.study].items():
            key = f"{variant}/{seed}"
            if key not in results:
                print(f"━━ {key}", file=sys.stderr, flush=True)
                results[key] = run(variant, changes, seed)
                args.output.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results, STUDIES[args.study], args.seeds))


if __name__ == "__main__":
    main()
