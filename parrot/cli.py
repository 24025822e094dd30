"""`parrot STAGE`, and the commands that are no stages: thin skins over the library."""

import argparse
import contextlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parrot import __version__
from parrot.credentials import hide_in_tracebacks
from parrot.errors import ParrotError
from parrot.files import naming_full_disk
from parrot.hardware import tell_deepspeed, use_threads
from parrot.params import load_params, read_params_tree
from parrot.pipeline.checkpoints import open_checkpoints
from parrot.stages import STAGES
from parrot.yaml_files import read_yaml

_STAGE_NOTE = "Every choice is in params.yaml; `dvc repro` gives the paths that dvc.yaml names."
OUTPUTS = ("output", "curve", "metrics", "plots", "reports")
"""Kinds of paths that a resumable stage writes; the others it reads."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a `ParrotError` is printed as a sentence and ends with exit code 1."""
    args = _parser().parse_args(arguments)
    hide_in_tracebacks()
    try:
        with naming_full_disk(getattr(args, "output", None) or Path.cwd()):
            args.run(args)
    except ParrotError as error:
        sys.exit(f"parrot {args.command}: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parrot", description="Train and use multilingual vision-language models."
    )
    parser.add_argument("--version", action="version", version=f"parrot {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="fetch data/ from the DVC remote, else make it; then verify it")
    data.add_argument("--write", action="store_true", help="make the embedded world anew and update data.dvc")
    data.set_defaults(run=_data)

    for name, stage in STAGES.items():
        short = f"the pipeline's stage {name}; dvc.yaml holds its paths"
        command = commands.add_parser(name, help=short, description=f"{stage.purpose} {_STAGE_NOTE}")
        for path, what in stage.paths.items():
            command.add_argument(
                f"--{path.replace('_', '-')}", type=Path, required=True, metavar="PATH", help=what
            )
        command.set_defaults(run=_stage)

    backbone = commands.add_parser("backbone", help="make a published language model or vision tower fit")
    backbone.add_argument("source", metavar="SOURCE", help="a folder, or a name on the Hub")
    backbone.add_argument("--revision", help="a commit of the Hub's repository")
    backbone.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    backbone.set_defaults(run=_backbone)

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
    from parrot.pipeline.data_versions import provide_data, rewrite_data

    (rewrite_data if args.write else provide_data)(load_params().world)


def _chat(args: argparse.Namespace) -> None:
    from parrot.serving.terminal import chat

    chat(args.model, args.image, args.prompt, args.max_new_tokens, as_json=args.json)


def _backbone(args: argparse.Namespace) -> None:
    from parrot.backbones.fit import fit

    for line in fit(args.source, args.revision, args.output):
        print(f"{args.output}: {line}")


def _compare(args: argparse.Namespace) -> None:
    from parrot.evaluation.comparison.compare import compare

    compare(args.a, args.b, args.asked, args.output)


def _score(args: argparse.Namespace) -> None:
    from parrot.evaluation.scoring.score import score

    chosen = {"benchmarks": args.benchmarks} if args.benchmarks else {}
    score(args.tsv_dir, args.pred_dir, protocol=args.protocol, output=args.output, **chosen)


def _convert(args: argparse.Namespace) -> None:
    from parrot.conversion.convert import convert, convert_back

    tell_deepspeed()
    if args.to_original:
        convert_back(args.source, args.target, args.vision_tower)
    else:
        convert(args.source, args.target, Path(args.vision_tower) if args.vision_tower else None)


def _stage(args: argparse.Namespace) -> None:
    from parrot.pipeline.processes import end_with_parents
    from parrot.tracking import track_stage

    end_with_parents()
    stage = STAGES[args.command]
    params = load_params()
    use_threads(params.threads)
    paths = {path: getattr(args, path) for path in stage.paths}
    if stage.trains:
        from parrot.evaluation.ahead import check_ahead

        check_ahead(params.evaluate, params.languages, seed=params.seed)
    entry = read_yaml("dvc.yaml")["stages"][args.command]
    chosen = _chosen(entry["params"])
    with track_stage(args.command, chosen) as tracked, contextlib.ExitStack() as stack:
        extra: dict[str, Any] = {}
        if stage.trains or stage.resumes:
            inputs = [path for kind, path in paths.items() if kind not in OUTPUTS]
            code = [Path(dep) for dep in entry["deps"] if dep.startswith("parrot/")]
            work = open_checkpoints(args.command, inputs, chosen, code)
            stack.enter_context(naming_full_disk(work))
            extra = (
                {"run": _run(args.command, work, tracked, params.workers)} if stage.trains else {"work": work}
            )
        function = stage.load()
        if "torch" in sys.modules:
            tell_deepspeed()
        metrics = function(**stage.choices(params), **paths, **extra)
        if extra:
            shutil.rmtree(work, ignore_errors=True)  # not earlier: now the outputs are in place
        tracked.log_metrics(metrics)
        for kind in ("curve", "plots", "reports"):
            if kind in paths and paths[kind].exists():
                tracked.log_artifact(paths[kind])


def _run(name: str, work: Path, tracked: Any, workers: int) -> Any:
    from parrot.training.trainer import Run

    return Run(name, work, tracked.log_metrics, workers)


def _chosen(keys: Sequence[str]) -> dict[str, Any]:
    """The parameters of these dotted names, as `params.yaml` gives them."""
    tree = read_params_tree()
    chosen = {}
    for key in keys:
        value: Any = tree
        for part in key.split("."):
            value = value[part]
        chosen[key] = value
    return chosen
