"""dvc.lock as it is, or as a commit has it: what stages had read and made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from parrot.errors import ParrotError
from parrot.repository import read_repo

LOCK = Path("dvc.lock")


@dataclass(frozen=True)
class LockEntry:
    """A stage as it last ended well: the hashes by path, the parameters by dotted key."""

    deps: dict[str, str]
    outs: dict[str, str]
    params: dict[str, Any]


def read_lock(text: str | None = None) -> dict[str, LockEntry]:
    """The stages by name; none where no stage has run yet.

    Args:
        text: of a lock file (default: `dvc.lock` here).

    Raises:
        ParrotError: it is not a lock file of DVC.
    """
    if text is None:
        text = read_repo(lambda repo: repo.fs.open(str(LOCK)).read()) if LOCK.exists() else ""
    try:
        tree = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
        return {
            name: LockEntry(
                {item["path"]: item.get("md5", "") for item in stage.get("deps", [])},
                {item["path"]: item.get("md5", "") for item in stage.get("outs", [])},
                {key: value for file in stage.get("params", {}).values() for key, value in file.items()},
            )
            for name, stage in tree.get("stages", {}).items()
        }
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise ParrotError(f"{LOCK}: not a lock file of DVC ({error}); `git checkout {LOCK}`") from None
