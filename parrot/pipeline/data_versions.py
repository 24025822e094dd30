"""`data/` is what `data.dvc` names: fetched when a DVC remote has it, else made, always verified."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from parrot.config import World
from parrot.errors import ParrotError
from parrot.files import write_text

DATA = Path("data")
POINTER = Path("data.dvc")
PROVIDED = Path(".parrot/provided-data.dvc")
"""What `data.dvc` said when data was last provided: if `data/` is still that, replacing it loses nothing."""


_NO_SCM = re.compile(r"^\s*no_scm\s*=", re.MULTILINE)


def work_without_git() -> None:
    """Where there is no git (a downloaded archive), tell DVC in this copy to do without; say so."""
    here = Path.cwd()
    configs = [here / ".dvc/config", here / ".dvc/config.local"]
    if not configs[0].is_file() or any((folder / ".git").exists() for folder in (here, *here.parents)):
        return
    if any(_NO_SCM.search(config.read_text(encoding="utf-8")) for config in configs if config.is_file()):
        return
    _dvc("config", "--local", "core.no_scm", "true", check=True)
    print(
        "parrot: git does not track this folder, so DVC now works without it (.dvc/config.local); "
        "experiments and comparisons need it: `git init && git add --all && git commit -m Parrot`, "
        "then `dvc config --local --unset core.no_scm`"
    )


def provide_data(world: World) -> None:
    """Make sure that `data/` is there and is what `data.dvc` names.

    Raises:
        ParrotError: `data/` holds something else, or cannot be fetched and what is made differs.
    """
    if not POINTER.is_file():
        raise ParrotError(
            f"{POINTER} is missing; restore it from git, or record your data with `dvc add data`"
        )
    work_without_git()
    named = POINTER.read_text(encoding="utf-8")
    print(f"{DATA}/ {_provide(named, world)}")
    write_text(PROVIDED, named)


def _provide(named: str, world: World) -> str:
    """Do what is needed, and say what was done."""
    if DATA.exists():
        there = _pointer_to_data(named)
        if there == named:
            return f"is what {POINTER} names"
        if not PROVIDED.exists() or PROVIDED.read_text(encoding="utf-8") != there:
            raise ParrotError(
                f"{DATA}/ is not what {POINTER} names; `dvc add data` records what is there now, "
                f"`dvc checkout --force data.dvc` or removing {DATA}/ goes back"
            )
        print(f"{DATA}/ is that of an earlier {POINTER}: replacing it")
        shutil.rmtree(DATA)
    if _dvc("pull", "--quiet", str(POINTER)).returncode == 0:
        return "fetched from the DVC remote"
    _write(world)
    if _pointer_to_data(named) != named:
        raise ParrotError(
            f"no DVC remote has {DATA}/, and what params.yaml's `world` makes differs from {POINTER}; "
            f"`dvc pull` from a remote that has it, or accept what was made with `dvc add data`"
        )
    return f"made and verified against {POINTER}"


def rewrite_data(world: World) -> None:
    """Make the embedded world anew and let `data.dvc` name it."""
    work_without_git()
    _write(world)
    _dvc("add", "--quiet", str(DATA), check=True)
    write_text(PROVIDED, POINTER.read_text(encoding="utf-8"))
    print(f"{DATA}/ made; commit {POINTER}")


def _write(world: World) -> None:
    from examples.picture_world.world.write import write_world

    write_world(world, DATA)


def _pointer_to_data(named: str) -> str:
    """What `data.dvc` would say of `data/`; DVC's cache has the bytes afterwards. `named`: what it says."""
    status = _dvc("status", "--json", str(POINTER), check=True)
    if not json.loads(status.stdout or "{}"):
        return named
    # Without a cache the status is "not in cache", right or wrong: let DVC name what is there.
    _dvc("add", "--quiet", str(DATA), check=True)
    there = POINTER.read_text(encoding="utf-8")
    write_text(POINTER, named)
    return there


def _dvc(*arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    process = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)
    if check and process.returncode:
        raise ParrotError(f"dvc {' '.join(arguments)}: {process.stderr.strip()}")
    return process
