"""What the stand-in for the Hub keeps: repositories with their commits, and what it says of their files."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

STORED_AS_LFS = (".safetensors", ".bin", ".jpg", ".png")
LARGE = 10 * 2**20  # bytes; what is larger is stored as LFS, too
ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in STORED_AS_LFS).encode()
REPO_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Commit:
    id: str
    title: str
    parent: str | None
    tree: dict[str, bytes]
    """Path -> content."""


@dataclass
class PullRequest:
    number: int
    title: str
    status: Literal["open", "merged"] = "open"


@dataclass
class Repository:
    private: bool
    gated: Literal["auto", "manual", False] = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    """Also `refs/pr/1`."""
    tags: dict[str, str] = field(default_factory=dict)
    requests: list[PullRequest] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    """What `main` was, one after the other."""

    def commit(self, title: str, tree: dict[str, bytes], branch: str) -> Commit:
        parent = self.branches.get(branch)
        told = json.dumps([title, parent, {path: git_hash(content) for path, content in tree.items()}])
        made = Commit(hashlib.sha1(told.encode()).hexdigest(), title, parent, tree)
        self.commits[made.id] = made
        self.set_branch(branch, made.id)
        return made

    def set_branch(self, name: str, commit: str) -> None:
        self.branches[name] = commit
        if name == "main":
            self.history.append(commit)


class Refusal(Exception):
    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        self.status, self.message = status, message
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def as_json(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_lfs(path: str, size: int) -> bool:
    return size > 0 and (path.endswith(STORED_AS_LFS) or size > LARGE)


def pointer(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


def file_facts(path: str, content: bytes) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
    if is_lfs(path, len(content)):
        told["oid"] = git_hash(pointer(content))
        digest = hashlib.sha256(content).hexdigest()
        told["lfs"] = {"oid": digest, "size": len(content), "pointerSize": len(pointer(content))}
    return told


def metadata_errors(card: str) -> Iterator[str]:
    """What the Hub would not take of a card's metadata, as far as its documentation says."""
    if not (found := re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)):
        yield "empty or missing yaml metadata in repo card"
        return
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        yield f"invalid YAML: {error}"
        return
    bases = data.get("base_model") or []
    names = [*([bases] if isinstance(bases, str) else bases), *data.get("datasets", [])]
    for name in [*names, *filter(None, [data.get("new_version")])]:
        if not REPO_ID.fullmatch(name):
            yield f'"{name}" is no name of a repository'
    if data.get("base_model_relation", "finetune") not in ("finetune", "adapter", "merge", "quantized"):
        yield '"base_model_relation" must be one of finetune, adapter, merge, quantized'
    for language in data.get("language", []):
        if not re.fullmatch("[a-z]{2,3}", language):
            yield f'"language": "{language}" is no ISO 639 code'
    if (data.get("license") == "other") != ("license_name" in data):
        yield '"license_name" goes with license: other'
    for model in data.get("model-index", []):
        for result in model["results"]:
            if not (
                result["task"].get("type") and result["dataset"].get("type") and result["dataset"].get("name")
            ):
                yield "model-index: a result needs task.type, dataset.type and dataset.name"
            if not all(metric.get("type") and "value" in metric for metric in result["metrics"]):
                yield "model-index: a metric needs type and value"
