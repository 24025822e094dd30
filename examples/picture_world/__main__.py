"""`python -m examples.picture_world`: writes the world, and trains the backbones that learn from it."""

import argparse
from collections.abc import Sequence
from types import SimpleNamespace

# Imports that cost time stand where they are used: the processes that draw pictures import this module, too.

PROGRAM = "python -m examples.picture_world"
STAGES = {
    "vision": "examples.picture_world.backbones.train_vision:train_vision",
    "language": "examples.picture_world.backbones.train_language:train_language",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; what is wrong is printed as a sentence and ends with exit code 1."""
    from parrot.stage import first_line, run_stage, sentences

    parser = argparse.ArgumentParser(prog=PROGRAM, description="The picture world, and what learns from it.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    data = commands.add_parser("data", help="write the world's files to data/")
    data.add_argument("--write", action="store_true", help="replace what is there, and let data.dvc name it")
    for name, target in STAGES.items():
        commands.add_parser(name, help=first_line(target), add_help=False)
    args, flags = parser.parse_known_args(arguments)
    if args.command == "data" and flags:
        parser.error(f"unrecognized arguments: {' '.join(flags)}")
    program = f"{PROGRAM} {args.command}"
    with sentences(program):
        if args.command == "data":
            write_data(replace=args.write)
        else:
            run_stage(args.command, STAGES[args.command], flags, prog=program, load=load_stage_sections)


def write_data(*, replace: bool) -> None:
    """Write the world to `data/`, which must not be there; or replace it, and let `data.dvc` name it.

    Raises:
        ParrotError: it is there, or the world cannot be as large as params.yaml wants it.
    """
    from examples.picture_world.sections import load_picture_world
    from examples.picture_world.world.write_world import write_world
    from parrot.errors import ParrotError
    from parrot.pipeline.data_versions import DATA, POINTER, record_data

    if DATA.exists() and not replace:
        raise ParrotError(f"{DATA}/ is there; with --write it is replaced, and {POINTER} names what was made")
    write_world(load_picture_world().world, DATA)
    if replace:
        record_data(f"{PROGRAM} data")
        print(f"{DATA}/ made; commit {POINTER}")


def load_stage_sections() -> SimpleNamespace:
    """The sections that the two stages name: the example's own, and some of the project's `params.yaml`."""
    from examples.picture_world.sections import load_picture_world
    from parrot.params import load_params

    params, own = load_params(), load_picture_world()
    return SimpleNamespace(
        vision=own.vision, language=own.language, seed=params.seed, threads=params.threads, speed=params.speed
    )


if __name__ == "__main__":
    main()
