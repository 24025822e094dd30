"""`data/` is what `data.dvc` names: fetched when a DVC remote has it, else made, always verified."""

import json
import subprocess
import sys
from pathlib import Path

from parrot.config import World
from parrot.errors import ParrotError
from parrot.files import write_text

DATA = Path("data")
POINTER = Path("data.dvc")


def provide_data(world: World) -> None:
    """Make sure that `data/` is there and is what `data.dvc` names.

    Raises:
        ParrotError: `data/` holds something else, or cannot be fetched and what is made differs.
    """
    if not POINTER.is_file():
        raise ParrotError(
            f"{POINTER} is missing; restore it from git, or record your data with `dvc add data`"
        )
    if DATA.exists():
        if not _is_named():
            raise ParrotError(
                f"{DATA}/ is not what {POINTER} names; `dvc add data` records what is there now, "
                f"`dvc checkout --force data.dvc` or removing {DATA}/ goes back"
            )
        print(f"{DATA}/ is what {POINTER} names")
        return
    if _dvc("pull", "--quiet", str(POINTER)).returncode == 0:
        print(f"{DATA}/ fetched from the DVC remote")
        return
    _write(world)
    if not _is_named():
        raise ParrotError(
            f"no DVC remote has {DATA}/, and what params.yaml's `world` makes differs from {POINTER}; "
            f"`dvc pull` from a remote that has it, or accept what was made with `dvc add data`"
        )
    print(f"{DATA}/ made and verified against {POINTER}")


def rewrite_data(world: World) -> None:
    """Make the embedded world anew and let `data.dvc` name it."""
    _write(world)
    _dvc("add", "--quiet", str(DATA), check=True)
    print(f"{DATA}/ made; commit {POINTER}")


def _write(world: World) -> None:
    from parrot.data.demo.write import write_world

    write_world(world, DATA)


def _is_named() -> bool:
    """Whether `data/` holds the bytes that `data.dvc` names; if so, DVC's cache has them afterwards."""
    status = _dvc("status", "--json", str(POINTER), check=True)
    if not json.loads(status.stdout or "{}"):
        return True
    # Without a cache the status is "not in cache", right or wrong: let DVC name what is there.
    named = POINTER.read_text(encoding="utf-8")
    _dvc("add", "--quiet", str(DATA), check=True)
    made = POINTER.read_text(encoding="utf-8")
    write_text(POINTER, named)
    return made == named


def _dvc(*arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    process = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)
    if check and process.returncode:
        raise ParrotError(f"dvc {' '.join(arguments)}: {process.stderr.strip()}")
    return process
