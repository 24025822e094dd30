"""`parrot STAGE`, and the commands that are no stages: thin skins over the library."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from parrot import __version__
from parrot.hardware import tell_deepspeed
from parrot.stage import STAGES, first_line, run_stage, sentences, tracked_by_dvc


class Command(NamedTuple):
    """A command that is no stage."""

    help: str
    flags: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a `ParrotError` is printed as a sentence and ends with exit code 1."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    chosen = given[0] if given else ""
    if chosen in STAGES:
        with sentences(f"parrot {chosen}"):
            run_stage(chosen, STAGES[chosen], given[1:])
    elif chosen in COMMANDS:
        command = COMMANDS[chosen]
        parser = argparse.ArgumentParser(prog=f"parrot {chosen}", description=command.help)
        command.flags(parser)
        args = parser.parse_args(given[1:])
        with sentences(f"parrot {chosen}", getattr(args, "output", None)):
            command.run(args)
    else:
        _overview().parse_args(given)


def _overview() -> argparse.ArgumentParser:
    """Knows of every command no more than a line."""
    parser = argparse.ArgumentParser(
        prog="parrot", description="Train and use multilingual vision-language models."
    )
    parser.add_argument("--version", action="version", version=f"parrot {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, target in STAGES.items():
        commands.add_parser(name, help=f"stage: {first_line(target)}")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help)
    return parser


def _no_flags(parser: argparse.ArgumentParser) -> None:
    pass


def _data(args: argparse.Namespace) -> None:
    from parrot.pipeline.data_versions import provide_data

    provide_data()


def _profile_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="a profile of conf/; none: list them")
    parser.add_argument("--force", action="store_true", help="even if params.yaml was changed by hand")


def _profile(args: argparse.Namespace) -> None:
    from parrot.profiles import list_profiles, write_profile

    if args.name:
        write_profile(args.name, force=args.force)
        print(f"params.yaml is {args.name}")
    else:
        print("\n".join(list_profiles()))


def _backbone_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="a folder, or a name on the Hub")
    parser.add_argument("--revision", help="a commit of the Hub's repository")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")


def _backbone(args: argparse.Namespace) -> None:
    with tracked_by_dvc():
        from parrot.backbones.fit import fit

        tell_deepspeed()
        for line in fit(args.source, args.revision, args.output):
            print(f"{args.output}: {line}")


def _chat_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, default=Path("artifacts/package"), help="a model's folder")
    parser.add_argument(
        "--image", type=Path, action="append", default=[], metavar="FILE", help="a picture to talk about"
    )
    parser.add_argument("--prompt", help="answer this and stop")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each answer")
    parser.add_argument("--max-new-tokens", type=int, default=64)


def _chat(args: argparse.Namespace) -> None:
    from parrot.serving.terminal import chat

    chat(args.model, args.image, args.prompt, args.max_new_tokens, as_json=args.json)


def _compare_flags(parser: argparse.ArgumentParser) -> None:
    for name in ("a", "b"):
        parser.add_argument(
            name, metavar=name.upper(), help="an evaluation folder, or an MLflow run: its id or runs:/ID"
        )
    parser.add_argument("--run", dest="asked", default="seeing", help="which answers (default: seeing)")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="and a plot beside it")


def _compare(args: argparse.Namespace) -> None:
    from parrot.evaluation.comparison.compare import compare

    compare(args.a, args.b, args.asked, args.output)


def _convert_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("target", type=Path, metavar="TARGET", help="a new folder")
    parser.add_argument("--vision-tower", help="the tower's folder; on the way back what names it")
    parser.add_argument("--to-original", action="store_true", help="ours to the authors' layout")


def _convert(args: argparse.Namespace) -> None:
    from parrot.conversion.convert import convert, convert_back

    tell_deepspeed()
    if args.to_original:
        convert_back(args.source, args.target, args.vision_tower)
    else:
        convert(args.source, args.target, Path(args.vision_tower) if args.vision_tower else None)


def _score_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tsv_dir", type=Path, metavar="TSV_DIR", help="the benchmarks' files")
    parser.add_argument(
        "pred_dir", type=Path, metavar="PRED_DIR", help="predictions, in files of the same names"
    )
    parser.add_argument("--protocol", choices=("parrot", "vlmevalkit", "vlmevalkit-2024"), default="parrot")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the report, as JSON")
    parser.add_argument("--benchmarks", type=Path, metavar="FILE", help="other suites than the known ones")


def _score(args: argparse.Namespace) -> None:
    from parrot.evaluation.scoring.score import score

    chosen = {"benchmarks": args.benchmarks} if args.benchmarks else {}
    score(args.tsv_dir, args.pred_dir, protocol=args.protocol, output=args.output, **chosen)


COMMANDS = {
    "data": Command("fetch data/ from the DVC remote, else make it; then verify it", _no_flags, _data),
    "profile": Command("write params.yaml for a profile, or list them all", _profile_flags, _profile),
    "backbone": Command("make a published language model or vision tower fit", _backbone_flags, _backbone),
    "chat": Command("ask a trained model", _chat_flags, _chat),
    "compare": Command("two evaluations of the same questions, A minus B", _compare_flags, _compare),
    "convert": Command("a checkpoint of the authors' code to ours, or back", _convert_flags, _convert),
    "score": Command("score predictions for multiple-choice benchmarks", _score_flags, _score),
}
