"""`parrot STAGE`, and the commands that are no stages: thin skins over the library."""

import argparse
import sys
from collections.abc import Sequence

from parrot import __version__
from parrot.commands import data, evaluation, models, project, publishing
from parrot.stage import STAGES, first_line, run_stage, sentences

COMMANDS = data.COMMANDS | project.COMMANDS | models.COMMANDS | evaluation.COMMANDS | publishing.COMMANDS


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
