"""Where a run comes from: commit, data, inputs, packages. Read from git and DVC's own files."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_SECRET = re.compile(r"(secret|passw(or)?d|(^|[._-])(token|credentials?|api_?key)$)", re.IGNORECASE)
_PASSWORD_IN_URI = re.compile(r"(?<=://)[^/@\s]+@")
# What a run itself writes into tracked files says nothing about the code that it ran.
_WRITTEN_BY_RUNS = ("dvc.lock", "metrics", "plots", "reports")


def without_password(text: str) -> str:
    """The text with `user:password@` taken out of any URI in it."""
    return _PASSWORD_IN_URI.sub("***@", text)


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; records in a list are numbered, plain lists stay whole.

    Values whose key says that they are secret are left out.
    """
    flat: dict[str, Any] = {}

    def visit(key: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for name, item in value.items():
                visit(f"{key}.{name}" if key else str(name), item)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            for position, item in enumerate(value):
                visit(f"{key}.{position}", item)
        elif key and not _SECRET.search(key):
            flat[key] = value

    visit("", tree)
    return flat


def as_text(value: Any) -> str:
    """A parameter as MLflow shows it: JSON, but for plain strings."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return without_password(text)


def run_tags() -> dict[str, str]:
    """Commit, state of the checkout, hash of `data/`, packages, and the name of a DVC experiment."""
    tags = {"python": platform.python_version(), **_git_tags()}
    for package in ("torch", "transformers"):
        try:
            tags[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            tags[package] = "not installed"
    if data := _outputs(_read(Path("data.dvc"))).get("data"):
        tags["data"] = data
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.experiment"] = experiment
    return tags


def input_hashes(stage: str) -> dict[str, str]:
    """DVC's hash of every dependency of the stage that is data (code is told by the commit)."""
    known = _outputs(_read(Path("data.dvc")))
    for entry in _read(Path("dvc.lock")).get("stages", {}).values():
        known |= _outputs(entry)
    listed = _read(Path("dvc.yaml")).get("stages", {}).get(stage, {}).get("deps", [])
    paths = [next(iter(item)) if isinstance(item, dict) else item for item in listed]
    return {path: known[path] for path in paths if path in known}


def _outputs(entry: Mapping[str, Any]) -> dict[str, str]:
    return {item["path"]: item["md5"] for item in entry.get("outs", []) if "md5" in item}


def _read(path: Path) -> dict[str, Any]:
    """A DVC file, or nothing: lineage is reported as far as it is known and never stops a run."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _git_tags() -> dict[str, str]:
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"git.dirty": "unknown"}
    written = [f":(exclude){name}" for name in _WRITTEN_BY_RUNS]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *written)
    dirty = "unknown" if changed is None else str(bool(changed))
    return {"mlflow.source.git.commit": commit, "git.dirty": dirty}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
