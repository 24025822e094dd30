"""Commands that make or use a model's folder."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from parrot.commands.command import Command
from parrot.hardware import tell_deepspeed
from parrot.stage import tracked_by_dvc


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


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError
        return value

    number.__name__ = f"positive {kind.__name__}"  # argparse: "invalid positive int value: '0'"
    return number


def _plan_flags(parser: argparse.ArgumentParser) -> None:
    count, size = _positive(int), _positive(float)
    parser.add_argument("profile", nargs="?", metavar="PROFILE", help="of conf/; without it params.yaml")
    parser.add_argument(
        "--gpus", type=count, help="on one node, a step of as many samples; default: as it says"
    )
    parser.add_argument("--memory", type=size, default=80.0, metavar="GIB", help="of each GPU (80)")
    parser.add_argument("--price", type=size, help="of a GPU's hour")
    parser.add_argument("--mfu", type=size, default=0.4, help="share of --tflops that is reached (0.4)")
    parser.add_argument("--tflops", type=size, default=312.0, help="a GPU's, dense bfloat16 (312, an A100's)")
    parser.add_argument(
        "--text", type=count, metavar="POSITIONS",
        help="of text in a mean sample (those of the mixture, if it is here, or 256)",
    )  # fmt: skip


def _plan(args: argparse.Namespace) -> None:
    from parrot.params import load_params
    from parrot.profiles import params_of
    from parrot.training.plan import Machine
    from parrot.training.plan_report import report

    params = params_of(args.profile) if args.profile else load_params()
    machine = Machine(args.memory, args.price, args.mfu, args.tflops)
    artifacts = None if args.profile else Path("artifacts")  # of another profile they hold other data
    for line in report(params, machine, gpus=args.gpus, text=args.text, artifacts=artifacts):
        print(line, flush=True)


COMMANDS = {
    "backbone": Command("make a published language model or vision tower fit", _backbone_flags, _backbone),
    "chat": Command("ask a trained model", _chat_flags, _chat),
    "plan": Command("what both stages take: memory by part, hours, money, disk", _plan_flags, _plan),
    "convert": Command("a checkpoint of the authors' code to ours, or back", _convert_flags, _convert),
}
