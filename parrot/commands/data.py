"""Commands that bring data in, look them through, and repair them."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from parrot.commands.command import Command, no_flags
from parrot.errors import ParrotError

if TYPE_CHECKING:
    from parrot.config import Params, Source


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


def _check_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", metavar="NAME", help="a source of params.yaml")
    parser.add_argument(
        "--format", metavar="FORMAT", help="instead: of a file that params.yaml does not name"
    )
    parser.add_argument("--annotations", type=Path, metavar="FILE", help="that file")
    parser.add_argument("--images", type=Path, metavar="PATH", help="a folder or an archive")
    parser.add_argument("--json", action="store_true", help="print one object instead of lines and a table")


def _check(args: argparse.Namespace) -> None:
    from parrot.data.check import Check, unnamed_source
    from parrot.params import load_params

    params = load_params()
    if bool(args.source) == bool(args.format) or bool(args.format) != bool(args.annotations):
        raise ParrotError("name a source of params.yaml, or give --format and --annotations")
    if args.source:
        name, source = args.source, _source(params, args.source)
    else:
        name, source = str(args.annotations), unnamed_source(args.format, args.annotations, args.images)
    check = Check(name, source, params.images, params.languages)
    if args.json:
        print(check.as_json(list(check)))
    else:
        for broken in check:
            print(broken)
        print(check.table())
    if check.reasons:
        sys.exit(1)


def _repair_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="NAME", help="a source of params.yaml, after its stage prepare")
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="JSON lines to write or take (default: repairs/NAME.jsonl)"
    )
    parser.add_argument(
        "--take", action="store_true", help="put the entries of the file in the places of the rejected ones"
    )


def _repair(args: argparse.Namespace) -> None:
    from parrot.data.reject_tables import REJECTS
    from parrot.data.repair import ORIGINAL, take_back, write_out
    from parrot.params import load_params

    params = load_params()
    source = _source(params, args.source)
    file = args.file or Path("repairs") / f"{args.source}.jsonl"
    if not args.take:
        count = write_out(Path("artifacts/prepared", source.split, args.source, REJECTS), file)
        print(f"{file}: {count} rejected entries; correct `entry` of each, then `parrot data repair "
              f"{args.source} --take`")  # fmt: skip
        return
    for path, count in take_back(file, args.source, source, params.images, params.languages).items():
        print(f"{path}: {count} repaired entries; the publisher's is {path.name}{ORIGINAL}. "
              f"Record both, as with `dvc add data`")  # fmt: skip


def _source(params: "Params", name: str) -> "Source":
    if name not in params.sources:
        raise ParrotError(f"params.yaml: sources: has no {name}, but {', '.join(params.sources)}")
    return params.sources[name]


PARTS = {
    "list": Command("what a profile's sources need, and how to get what is missing", _profile_flags, _list),
    "get": Command("fetch what is missing, as far as it is served; or go on with it", _profile_flags, _get),
    "check": Command("look a source through, every picture too, before any stage runs", _check_flags, _check),
    "repair": Command("write rejected entries out for editing, and take them back", _repair_flags, _repair),
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
    try:
        args.part.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has read enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


COMMANDS = {
    "data": Command("fetch data/ from the DVC remote, else make it; then verify it", _flags, _data),
}
