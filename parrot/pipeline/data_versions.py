"""`data/` is what `data.dvc` names: fetched when a DVC remote has it, else made, always verified.

The file names the command that makes it, too, in what DVC leaves to its users: `meta: {make: COMMAND}`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from parrot.errors import ParrotError
from parrot.files import write_text
from parrot.yaml_files import read_yaml

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


def provide_data() -> None:
    """Make sure that `data/` is there and is what `data.dvc` names.

    Raises:
        ParrotError: `data/` holds something else, or can neither be fetched nor made as it was.
    """
    if not POINTER.is_file():
        raise ParrotError(
            f"{POINTER} is missing; restore it from git, or record your data with `dvc add data`"
        )
    work_without_git()
    named = POINTER.read_text(encoding="utf-8")
    print(f"{DATA}/ {_provide(named)}")
    write_text(PROVIDED, named)


def record_data(make: str) -> None:
    """Let `data.dvc` name what is in `data/` now, and `make` as the command that makes it."""
    work_without_git()
    _dvc("add", "--quiet", str(DATA), check=True)
    if _command() != make:
        tree = read_yaml(POINTER)
        meta = tree.get("meta")
        tree["meta"] = {**(meta if isinstance(meta, dict) else {}), "make": make}
        write_text(POINTER, yaml.safe_dump(tree, sort_keys=False))
    write_text(PROVIDED, POINTER.read_text(encoding="utf-8"))


def _provide(named: str) -> str:
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
    command = _command()
    if command is None:
        raise ParrotError(
            f"no DVC remote has {DATA}/, and {POINTER} names no command that makes it (meta: make); "
            f"`dvc pull` from a remote that has it, or put it there and record it with `dvc add data`"
        )
    _make(command)
    if _pointer_to_data(named) != named:
        raise ParrotError(
            f"no DVC remote has {DATA}/, and what `{command}` makes differs from {POINTER}; "
            f"`dvc pull` from a remote that has it, or accept what was made with `dvc add data`"
        )
    return f"made and verified against {POINTER}"


def _command() -> str | None:
    """What makes `data/`, as `data.dvc` names it."""
    tree = read_yaml(POINTER)
    meta = tree.get("meta") if isinstance(tree, dict) else None
    command = meta.get("make") if isinstance(meta, dict) else None
    return command if isinstance(command, str) else None


def _make(command: str) -> None:
    """Run the command that makes `data/`, with this Python as its `python`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    status = subprocess.run(command, shell=True, env=os.environ | {"PATH": path}).returncode
    if status or not DATA.exists():
        what = f"ended with status {status}" if status else f"wrote no {DATA}/"
        raise ParrotError(f"{POINTER}: `{command}` {what}; see what it says above")


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
