"""Commands that give a model to others."""

import argparse
from pathlib import Path

from parrot.commands.command import Command


def _publish_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--package", type=Path, default=Path("artifacts/package"), metavar="DIR")
    parser.add_argument("--version", help="default: the one with these weights, or the next number")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")


def _publish(args: argparse.Namespace) -> None:
    from parrot.params import load_params
    from parrot.publishing.publish import next_version, publish, target_of, would_send

    target = target_of(load_params())
    version = args.version or next_version(args.package, target)
    if args.dry_run:
        print("\n".join(would_send(args.package, target, version)))
        return
    published = publish(args.package, target, version=version)
    if published.placed is None:
        print(f"{published.name}: version {version} is there and shown")
    elif published.placed.pull_request:
        print(f"{published.name}: version {version} waits at {published.placed.pull_request}")
    else:
        print(f"{published.name}: shows version {version} ({published.placed.revision})")


COMMANDS = {
    "publish": Command("give the package to others: on the Hub, or in a folder", _publish_flags, _publish),
}
