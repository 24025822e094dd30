"""Commands that bring data in."""

import argparse

from parrot.commands.command import Command, no_flags


def _provide(args: argparse.Namespace) -> None:
    from parrot.pipeline.data_versions import provide_data

    provide_data()


def _profile_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="these of its sources (default: all)")
    parser.add_argument("--profile", metavar="NAME", help="a profile of conf/ (default: params.yaml)")


def _list(args: argparse.Namespace) -> None:
    from parrot.catalog.needs import chosen, describe, needs_of

    for need in chosen(needs_of(args.profile), args.sources):
        print("\n".join(describe(need)))


def _get(args: argparse.Namespace) -> None:
    from parrot.catalog.fetch import get
    from parrot.catalog.needs import chosen, needs_of

    for need in chosen(needs_of(args.profile), args.sources):
        for line in get(need):
            print(line)


PARTS = {
    "list": Command("what a profile's sources need, and how to get what is missing", _profile_flags, _list),
    "get": Command("fetch what is missing, as far as it is served; or go on with it", _profile_flags, _get),
}
"""What may follow `parrot data`; nothing provides what data.dvc names."""


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(part=Command("", no_flags, _provide))
    parts = parser.add_subparsers(metavar="PART")
    for name, part in PARTS.items():
        own = parts.add_parser(name, help=part.help, description=part.help)
        part.flags(own)
        own.set_defaults(part=part)


def _data(args: argparse.Namespace) -> None:
    args.part.run(args)


COMMANDS = {
    "data": Command("fetch data/ from the DVC remote, else make it; then verify it", _flags, _data),
}
