"""`parrot STAGE`, `parrot data`, `score`, `compare`, `convert` and `chat`: thin skins over the library."""

import argparse
import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from parrot.config import PARAMS_FILE, load_params
from parrot.credentials import hide_in_tracebacks
from parrot.errors import ParrotError
from parrot.stages import STAGES

CHECKPOINTS = Path(".parrot/checkpoints")
OUTPUTS = ("output", "curve", "metrics", "plots", "reports")
"""Kinds of paths that a resumable stage writes; the others it reads."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a `ParrotError` is printed as a sentence and ends with exit code 1."""
    args = _parser().parse_args(arguments)
    hide_in_tracebacks()
    try:
        args.run(args)
    except ParrotError as error:
        sys.exit(f"parrot {args.command}: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = Path(error.filename or getattr(args, "output", ".")).absolute()
        place = next(folder for folder in (place, *place.parents) if folder.exists())
        free = shutil.disk_usage(place).free / 2**30
        sys.exit(
            f"parrot {args.command}: no space left while writing {error.filename or 'its outputs'} "
            f"({free:.1f} GiB free in {place}); free some and start again"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parrot", description="Train and use multilingual vision-language models."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="fetch data/ from the DVC remote, else make it; then verify it")
    data.add_argument("--write", action="store_true", help="make the embedded world anew and update data.dvc")
    data.set_defaults(run=_data)

    for name, stage in STAGES.items():
        command = commands.add_parser(name, help=f"the pipeline's stage {name}; dvc.yaml holds its paths")
        for path in stage.paths:
            command.add_argument(f"--{path.replace('_', '-')}", type=Path, required=True)
        command.set_defaults(run=_stage)

    compare = commands.add_parser("compare", help="two evaluations of the same questions, A minus B")
    for name in ("a", "b"):
        compare.add_argument(
            name, metavar=name.upper(), help="an evaluation folder, or an MLflow run: its id or runs:/ID"
        )
    compare.add_argument("--run", dest="asked", default="seeing", help="which answers (default: seeing)")
    compare.add_argument("--output", type=Path, metavar="FILE.json", help="and a plot beside it")
    compare.set_defaults(run=_compare)

    convert = commands.add_parser("convert", help="a checkpoint of the authors' code to ours, or back")
    convert.add_argument("source", type=Path, metavar="SOURCE")
    convert.add_argument("target", type=Path, metavar="TARGET", help="a new folder")
    convert.add_argument("--vision-tower", help="the tower's folder; on the way back what names it")
    convert.add_argument("--to-original", action="store_true", help="ours to the authors' layout")
    convert.set_defaults(run=_convert)

    score = commands.add_parser("score", help="score predictions for multiple-choice benchmarks")
    score.add_argument("tsv_dir", type=Path, metavar="TSV_DIR", help="the benchmarks' files")
    score.add_argument("pred_dir", type=Path, metavar="PRED_DIR", help="predictions, in files named as those")
    score.add_argument("--protocol", choices=("parrot", "vlmevalkit", "vlmevalkit-2024"), default="parrot")
    score.add_argument("--output", type=Path, required=True, metavar="FILE", help="the report, as JSON")
    score.add_argument("--benchmarks", type=Path, metavar="FILE", help="other suites than the known ones")
    score.set_defaults(run=_score)

    chat = commands.add_parser("chat", help="ask a trained model")
    chat.add_argument("--model", type=Path, default=Path("artifacts/package"), help="a model's folder")
    chat.add_argument(
        "--image", type=Path, action="append", default=[], metavar="FILE", help="a picture to talk about"
    )
    chat.add_argument("--prompt", help="answer this and stop")
    chat.add_argument("--json", action="store_true", help="one line of JSON for each answer")
    chat.add_argument("--max-new-tokens", type=int, default=64)
    chat.set_defaults(run=_chat)
    return parser


def _data(args: argparse.Namespace) -> None:
    from parrot.data.versions import provide_data, rewrite_data

    (rewrite_data if args.write else provide_data)(load_params().world)


def _chat(args: argparse.Namespace) -> None:
    from parrot.chat.terminal import chat

    chat(args.model, args.image, args.prompt, args.max_new_tokens, as_json=args.json)


def _compare(args: argparse.Namespace) -> None:
    from parrot.evaluation.comparing.compare import compare

    compare(args.a, args.b, args.asked, args.output)


def _score(args: argparse.Namespace) -> None:
    from parrot.evaluation.scoring.score import score

    chosen = {"benchmarks": args.benchmarks} if args.benchmarks else {}
    score(args.tsv_dir, args.pred_dir, protocol=args.protocol, output=args.output, **chosen)


def _convert(args: argparse.Namespace) -> None:
    from parrot.conversion.convert import convert, convert_back

    if args.to_original:
        convert_back(args.source, args.target, args.vision_tower)
    else:
        convert(args.source, args.target, Path(args.vision_tower) if args.vision_tower else None)


def _stage(args: argparse.Namespace) -> None:
    from parrot.processes import end_with_parents
    from parrot.tracking import track_stage

    end_with_parents()
    stage = STAGES[args.command]
    params = load_params()
    # Before torch is imported: sums in another order are other bytes.
    os.environ["OMP_NUM_THREADS"] = str(params.threads)
    paths = {path: getattr(args, path) for path in stage.paths}
    with track_stage(args.command, _tracked_params(args.command)) as tracked:
        extra: dict[str, Any] = {}
        if stage.trains:
            extra["run"] = _training_run(args.command, paths, tracked)
        if stage.resumes:
            extra["work"] = _checkpoints(args.command, paths)
        metrics = stage.load()(**stage.choices(params), **paths, **extra)
        tracked.log_metrics(metrics)
        for kind in ("curve", "plots", "reports"):
            if kind in paths and paths[kind].exists():
                tracked.log_artifact(paths[kind])


def _training_run(name: str, paths: dict[str, Path], tracked: Any) -> Any:
    from parrot.training.trainer import Run

    return Run(name, _checkpoints(name, paths), tracked.log_metrics)


def _checkpoints(name: str, paths: dict[str, Path]) -> Path:
    """Where the stage finds what a killed run of the same inputs and parameters had done."""
    inputs = [path for kind, path in paths.items() if kind not in OUTPUTS]
    return CHECKPOINTS / f"{name}-{_fingerprint(inputs, _tracked_params(name))}"


def _fingerprint(inputs: Sequence[Path], params: dict[str, Any]) -> str:
    """What a checkpoint may be resumed for: the same parameters and the same untouched input files."""
    files = [file for path in inputs for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(json.dumps([params, stats], sort_keys=True).encode()).hexdigest()[:16]


def _tracked_params(stage: str) -> dict[str, Any]:
    """The parameters that dvc.yaml says the stage depends on."""
    tree = yaml.safe_load(PARAMS_FILE.read_text(encoding="utf-8"))
    keys = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["params"]
    chosen = {}
    for key in keys:
        value = tree
        for part in key.split("."):
            value = value[part]
        chosen[key] = value
    return chosen
