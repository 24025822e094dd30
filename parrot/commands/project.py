"""Commands about the project: its profiles, and where its models are from."""

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


def _lineage_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "asked",
        metavar="MODEL|RUN|COMMIT|HUB_REPO",
        help="a package's folder, models:/NAME/VERSION, models:/NAME@champion, a run, a commit, USER/NAME",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _lineage(args: argparse.Namespace) -> None:
    from parrot.lineage_report import as_json, as_text, trace

    found = trace(args.asked)
    print(as_json(found) if args.json else as_text(found))


COMMANDS = {
    "lineage": Command(
        "which code and data a model is from, and how to have it again", _lineage_flags, _lineage
    ),
    "profile": Command("write params.yaml for a profile, or list them all", _profile_flags, _profile),
}
