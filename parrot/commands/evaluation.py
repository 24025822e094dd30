"""Commands that score predictions and compare evaluations."""

import argparse
from pathlib import Path

from parrot.commands.command import Command


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
    "compare": Command("two evaluations of the same questions, A minus B", _compare_flags, _compare),
    "score": Command("score predictions for multiple-choice benchmarks", _score_flags, _score),
}
