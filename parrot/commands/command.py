"""What a command that is no stage consists of."""

import argparse
from collections.abc import Callable
from typing import NamedTuple


class Command(NamedTuple):
    """A command that is no stage."""

    help: str
    flags: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def no_flags(parser: argparse.ArgumentParser) -> None:
    pass
