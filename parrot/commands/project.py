"""Commands about the project: its profiles."""

import argparse

from parrot.commands.command import Command


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


COMMANDS = {
    "profile": Command("write params.yaml for a profile, or list them all", _profile_flags, _profile),
}
