"""Commands that bring data in."""

import argparse

from parrot.commands.command import Command, no_flags


def _data(args: argparse.Namespace) -> None:
    from parrot.pipeline.data_versions import provide_data

    provide_data()


COMMANDS = {
    "data": Command("fetch data/ from the DVC remote, else make it; then verify it", no_flags, _data),
}
