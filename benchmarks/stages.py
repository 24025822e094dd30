"""The demonstration at several seeds, and what each of its stages adds.

    python benchmarks/stages.py [--seeds 1 2 3] [--variants everything …] [--output docs/stages.json]

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
        "examples/picture_world/params.yaml:language.training.max_steps=0",
        "examples/picture_world/params.yaml:language.letters.max_steps=0",
    ],
    "no alignment": ["align.training.max_steps=0"],
    "no MoE": ["sft.moe=null"],
}
PROTOCOLS = {
    "seeing": "accuracy",
    "letter": "letter",
    "written": "written.parrot",
    "unreadable": "unreadable",
    "free": "free",
    "free, in the asked language": "free_language",
    "blind": "blind",
    "relation, seeing": "category.relation",
}
"""A protocol's name in the tables, and where the metrics have its shares."""

Result = dict[str, Any]
"""Of each protocol the shares by language and overall; and `minutes`."""


def run(variant: str, changes: list[str], seed: int) -> Result:
    """What one run has measured, and the minutes beyond what the cache had."""
    name = f"{variant.replace(' ', '-').lower()}-seed-{seed}-{int(time.time())}"
    settings = [f"seed={seed}", *changes]
    began = time.monotonic()
    options = [part for setting in settings for part in ("--set-param", setting)]
    subprocess.run(["dvc", "exp", "run", "--temp", "--name", name, *options, "evaluate"], check=True)
    minutes = round((time.monotonic() - began) / 60, 1)
    metrics = dvc.api.metrics_show("metrics/evaluate.json", rev=name)
    found = {protocol: _found(metrics, key) for protocol, key in PROTOCOLS.items()}
    return found | {"minutes": minutes}


def _found(metrics: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        metrics = metrics[part]
    return metrics


def table_of_seeds(runs: list[Result]) -> str:
    """The mean over the seeds by protocol and language; of the overall share also spread and lowest."""
    languages = [name for name in runs[0]["seeing"] if name != "overall"]
    lines = [
        f"| {len(runs)} seeds, % | {' | '.join(languages)} | overall | spread | lowest |",
        "|---|" + "---:|" * (len(languages) + 3),
    ]
    for protocol in PROTOCOLS:
        shares = [[run[protocol][name] * 100 for run in runs] for name in (*languages, "overall")]
        cells = [f"{mean(of_language):.1f}" for of_language in shares]
        lines.append(f"| {protocol} | {' | '.join(cells)} | {_spread(shares[-1])} | {min(shares[-1]):.1f} |")
    return "\n".join(lines)


def table_of_stages(results: dict[str, Result], variants: list[str], seeds: list[int]) -> str:
    """What leaving a stage out takes from the mean over the seeds, seeing and by letter."""
    lines = [
        "| % | letter | spread | cost | seeing | spread | cost | blind | minutes |",
        "|---|" + "---:|" * 8,
    ]
    runs = {variant: [results[f"{variant}/{seed}"] for seed in seeds] for variant in variants}
    for variant in variants:
        cells = []
        for protocol in ("letter", "seeing"):
            shares, base = (
                [run[protocol]["overall"] * 100 for run in runs[name]] for name in (variant, BASE)
            )
            cost = "–" if variant == BASE else f"{mean(base) - mean(shares):.1f}"
            cells += [f"{mean(shares):.1f}", _spread(shares), cost]
        cells.append(f"{mean(run['blind']['overall'] for run in runs[variant]) * 100:.1f}")
        cells.append(f"{mean(run['minutes'] for run in runs[variant]):.1f}")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(shares: list[float]) -> str:
    return f"±{stdev(shares):.1f}" if len(shares) > 1 else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--output", type=Path, default=Path("docs/stages.json"))
    args = parser.parse_args()
    variants = [name for name in VARIANTS if name == BASE or name in args.variants]
    results = json.loads(args.output.read_text()) if args.output.exists() else {}
    for seed in args.seeds:
        for variant in variants:
            key = f"{variant}/{seed}"
            if key not in results:
                print(f"━━ {key}", file=sys.stderr, flush=True)
                results[key] = run(variant, VARIANTS[variant], seed)
                args.output.write_text(json.dumps(results, indent=2) + "\n")
    print(table_of_seeds([results[f"{BASE}/{seed}"] for seed in args.seeds]) + "\n")
    print(table_of_stages(results, variants, args.seeds))


if __name__ == "__main__":
    main()
