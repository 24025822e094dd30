"""Where a run comes from: commit, data, inputs, packages. Read from git and DVC's own files."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parrot.credentials import is_secret, without_secrets
from parrot.errors import ParrotError
from parrot.yaml_files import read_yaml

# What a run itself writes into tracked files says nothing about the code that it ran.
_WRITTEN_BY_RUNS = (":(exclude,glob)**/dvc.lock", ":(exclude)metrics", ":(exclude)plots", ":(exclude)reports")
_CODE = ("parrot", "examples", "dvc.yaml")
"""What a result depends on, beside `params.yaml` and data."""


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; records in a list are numbered, plain lists stay whole.

    Values whose key says that they are secret are left out.
    """
    flat: dict[str, Any] = {}

    def visit(key: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for name, item in value.items():
                visit(f"{key}.{name}" if key else str(name), item)
        elif isinstance(value, list) and _holds_records(value):
            for position, item in enumerate(value):
                visit(f"{key}.{position}", item)
        elif key and not is_secret(key, value):
            flat[key] = value

    visit("", tree)
    return flat


def _holds_records(items: list[Any]) -> bool:
    return any(
        isinstance(item, Mapping) or (isinstance(item, list) and _holds_records(item)) for item in items
    )


def as_text(value: Any) -> str:
    """A parameter as MLflow shows it: JSON, but for plain strings."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return without_secrets(text)


def run_tags() -> dict[str, str]:
    """Commit, state of the checkout, hash of `data/`, packages, and the name of a DVC experiment."""
    tags = {"python": platform.python_version(), **_git_tags()}
    for package in ("torch", "transformers"):
        try:
            tags[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            tags[package] = "not installed"
    if data := _data_hash():
        tags["data"] = data
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.experiment"] = experiment
    return tags


def _data_hash() -> str | None:
    """Of `data/` as it is: `data.dvc` names what was added, which may have been changed since."""
    if not Path("data.dvc").is_file():
        return None
    named = {item["path"]: item.get("md5") for item in _read(Path("data.dvc")).get("outs", [])}
    return dvc_hashes("data.dvc", "outs").get("data") or named.get("data")


def dvc_hashes(target: str, kind: str) -> dict[str, str]:
    """DVC's hashes of what a stage reads ("deps") or writes ("outs") as it is now, by the path in `dvc.yaml`.

    Of what a running stage reads these are the hashes that `dvc.lock` will hold once it has ended; until then
    it holds those of an earlier run. DVC knows files again by their times and sizes, so hardly anything is
    read. Nothing is told where DVC cannot tell.

    Args:
        target: a stage's address, or a `.dvc` file.
    """
    if not Path("dvc.yaml").is_file() and not Path(target).is_file():
        return {}
    from dvc.dependency import ParamsDependency
    from dvc.exceptions import DvcException

    from parrot.repository import read_repo

    def hashes(repo: Any) -> dict[str, str]:
        (stage,) = repo.stage.collect(target)
        items = [item for item in getattr(stage, kind) if not isinstance(item, ParamsDependency)]
        return {item.def_path: item.get_hash().value for item in items if item.exists}

    try:
        return read_repo(hashes)
    except (DvcException, OSError, ValueError):
        return {}


def _read(path: Path) -> dict[str, Any]:
    """A DVC file, or nothing: lineage is reported as far as it is known and never stops a run."""
    try:
        tree = read_yaml(path)
    except (ParrotError, OSError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _git_tags() -> dict[str, str]:
    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {"git.dirty": "unknown"}
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *_WRITTEN_BY_RUNS)
    dirty = "unknown" if changed is None else str(bool(changed))
    return {"mlflow.source.git.commit": commit, "git.dirty": dirty, "code": _code()}


def _code() -> str:
    """The last commit that touched the code, and `+` a digest of what is changed and not committed."""
    commit = git("log", "-1", "--format=%h", "--", *_CODE) or "none"
    changes = git("diff", "HEAD", "--", *_CODE)
    return f"{commit}+{hashlib.sha256(changes.encode()).hexdigest()[:6]}" if changes else commit


def git(*arguments: str) -> str | None:
    """What git says, or None if it refuses."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
