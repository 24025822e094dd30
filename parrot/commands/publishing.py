"""Commands that decide whether a model is published, publish it, and go back."""

import argparse
import sys
from pathlib import Path

from parrot.commands.command import Command

EXIT_CODES = {"PROMOTE": 0, "HOLD": 3, "REJECT": 4}
"""Of `gate` and `publish`; 1 is an error, 2 a wrong flag."""


def _champion_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--champion",
        type=Path,
        metavar="DIR",
        help="the champion's evaluation, if it was evaluated anew (default: the registry's)",
    )


def _gate_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--challenger", type=Path, metavar="DIR", help="an evaluation (default: artifacts/evaluation)"
    )
    _champion_flag(parser)
    parser.add_argument("--dry-run", action="store_true", help="decide, and note it nowhere")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the verdict, as JSON")


def _gate(args: argparse.Namespace) -> None:
    from parrot.files import write_json
    from parrot.params import load_params
    from parrot.publishing.release import EVALUATION, judge

    judged = judge(
        load_params(),
        challenger=args.challenger or EVALUATION,
        champion=args.champion,
        dry_run=args.dry_run,
    )
    print(judged.verdict.as_markdown())
    if args.output:
        write_json(args.output, judged.verdict.as_json())
    sys.exit(EXIT_CODES[judged.verdict.decision])


def _publish_flags(parser: argparse.ArgumentParser) -> None:
    _champion_flag(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="decide, say what would be sent, change nothing"
    )


def _publish(args: argparse.Namespace) -> None:
    from parrot.params import load_params
    from parrot.publishing.publish import (
        next_version,
        target_of,
        would_send,
    )
    from parrot.publishing.release import PACKAGE, release

    params = load_params()
    done = release(params, champion=args.champion, dry_run=args.dry_run)
    print(done.verdict.as_markdown())
    if done.waits_at:
        print(f"\nwaits at {done.waits_at}; once it is merged, `parrot publish` does the rest")
    elif done.published:
        print(f"\n{done.published.name}: shows version {done.published.version}")
    elif args.dry_run and done.verdict.decision == "PROMOTE":
        target = target_of(params)
        print("", *would_send(PACKAGE, target, next_version(PACKAGE, target)), sep="\n")
    sys.exit(0 if done.is_champion else EXIT_CODES[done.verdict.decision])


def _rollback_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "version", nargs="?", metavar="VERSION", help="default: the one that the champion replaced"
    )


def _rollback(args: argparse.Namespace) -> None:
    from parrot.params import load_params
    from parrot.publishing.release import rollback

    published = rollback(load_params(), args.version, hold=True)
    print(f"{published.name}: shows version {published.version}")


COMMANDS = {
    "gate": Command("may the model just made replace the champion? 0 yes, 3 hold, 4 no", _gate_flags, _gate),
    "publish": Command("publish the package, if the gate lets it", _publish_flags, _publish),
    "rollback": Command("show an earlier version again", _rollback_flags, _rollback),
}
