"""Forms of the MoE's residual and starts of its experts, over seeds of stage two.

    python benchmarks/residuals.py [--seeds 1 2 3] [--output DIR]

Every run begins with the backbones and the projector of artifacts/ (so run the pipeline first), trains stage
two as committed but for the form and the seed, and is scored on the benchmark of params.yaml, seeing.
Prints a table and writes the losses of every run's first steps as a plot and a CSV. A result that is there
already is kept: an interrupted call goes on where it was.
"""

import argparse
import csv
import json
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from parrot.config import Params
from parrot.evaluation.benchmarks.benchmark import benchmark_files, read_benchmark
from parrot.evaluation.inference.batches import InferenceRun
from parrot.evaluation.inference.chunks import cut
from parrot.evaluation.inference.prompts import protocols
from parrot.evaluation.inference.workers import answer_chunks
from parrot.params import load_params
from parrot.training.sft import sft
from parrot.training.trainer import TrainingRun

ARTIFACTS = Path("artifacts")
FORMS: dict[str, dict[str, Any] | None] = {
    "x + M(x), M starts at zero": {},
    # With weight 1 this is x + M(x) as well, but its experts start at random.
    "x + M(x), M starts at random": {"residual": "released", "weight": 1.0},
    "0.1 x + M(x), as released": {"residual": "released", "weight": 0.1},
    "M(x)": {"residual": "none"},
    "no MoE": None,
}
FIRST_STEPS = 100
WINDOW = 10
"""Batches hold answers of one length, and short ones are much harder or easier than long ones."""


def run(params: Params, form: dict[str, Any] | None, seed: int) -> dict[str, Any]:
    """Accuracy by language, and the losses of the first steps."""
    chosen = params.sft.model_copy(
        update={
            "moe": params.sft.moe.model_copy(update=form) if params.sft.moe and form is not None else None,
            "training": params.sft.training.model_copy(update={"logging_steps": 1}),
        }
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sft(
            chosen,
            params.model,
            seed,
            records=ARTIFACTS / "prepared/sft",
            mixture=ARTIFACTS / "mixtures/sft",
            vision=ARTIFACTS / "backbones/vision",
            language=ARTIFACTS / "backbones/language",
            aligned=ARTIFACTS / "align",
            output=folder / "sft",
            curve=folder / "curve.csv",
            metrics=folder / "metrics.json",
            run=TrainingRun("sft", folder / "checkpoints"),
        )
        with (folder / "curve.csv").open() as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        return {"accuracy": accuracy(params, folder / "sft"), "losses": losses[:FIRST_STEPS]}


def accuracy(params: Params, model: Path) -> dict[str, float]:
    seeing = InferenceRun("seeing", protocols()["option_likelihood"], "own")
    benchmark = read_benchmark(benchmark_files(params.evaluate, params.languages))
    questions = {(one.language, one.index): one for some in benchmark.values() for one in some}
    hits: dict[str, list[bool]] = {language: [] for language in params.languages}
    speed = params.speed
    for rows in answer_chunks(
        model, [seeing], cut(questions.values(), speed.inference_batch_size), {},
        batch_size=speed.inference_batch_size, processes=speed.inference_processes,
    ):  # fmt: skip
        for row in rows:
            question = questions[row["language"], row["index"]]
            hits[question.language].append(row["seeing"]["choice"] == question.answer)
    return {language: mean(found) for language, found in hits.items()}


def table(results: dict[str, dict[str, Any]], languages: list[str], seeds: list[int]) -> str:
    lines = [
        f"| | {' | '.join(languages)} | mean | spread | loss at step 1 | 2–20 | 21–100 |",
        "|---|" + "---:|" * (len(languages) + 5),
    ]
    for form in FORMS:
        runs = [results[f"{form}/{seed}"] for seed in seeds]
        cells = [f"{mean(one['accuracy'][language] for one in runs):.1%}" for language in languages]
        means = [mean(one["accuracy"].values()) for one in runs]
        cells += [f"**{mean(means):.1%}**", f"±{100 * stdev(means):.1f}" if len(means) > 1 else "–"]
        for steps in (slice(0, 1), slice(1, 20), slice(20, 100)):
            cells.append(f"{mean(mean(one['losses'][steps]) for one in runs):.2f}")
        lines.append(f"| {form} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_losses(results: dict[str, dict[str, Any]], seeds: list[int], folder: Path) -> None:
    """`residuals.csv` and `residuals.png`: the loss of each step, mean over the seeds."""
    curves = {
        form: [
            mean(step) for step in zip(*(results[f"{form}/{seed}"]["losses"] for seed in seeds), strict=True)
        ]
        for form in FORMS
    }
    with (folder / "residuals.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", *curves])
        writer.writerows(
            [step, *(f"{loss:.4f}" for loss in row)]
            for step, row in enumerate(zip(*curves.values(), strict=True), start=1)
        )
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for form, losses in curves.items():
        windows = [mean(losses[end - WINDOW : end]) for end in range(WINDOW, len(losses) + 1)]
        axes.plot(range(WINDOW, len(losses) + 1), windows, label=form, linewidth=1)
    axes.set(xlabel="step of stage two", ylabel=f"loss, mean of {WINDOW} steps and all seeds", ylim=(0, None))
    axes.legend(fontsize="small")
    figure.savefig(folder / "residuals.png", metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output", type=Path, default=Path("reports/residuals"))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    params = load_params()
    torch.set_num_threads(params.threads)
    file = args.output / "residuals.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for seed in args.seeds:
        for name, form in FORMS.items():
            key = f"{name}/{seed}"
            if key not in results:
                results[key] = run(params, form, seed)
                file.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results, params.languages, args.seeds))
    write_losses(results, args.seeds, args.output)


if __name__ == "__main__":
    main()
