"""What DVC knows of stages: what they need, and what they had read and made when they last ended well."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parrot.params import PARAMS_FILE
from parrot.pipeline.graph import is_code, needs_of_stages, with_needs
from parrot.repository import read_repo


@dataclass
class LockedStage:
    """What `dvc.lock` says that a stage had read and made when it last ended well."""

    address: str
    inputs: dict[str, str] = field(default_factory=dict)
    """Path as in dvc.yaml -> hash, of data; and of the project's own code below."""
    code: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    """Dotted key -> value, of all files of parameters."""
    outputs: list[Path] = field(default_factory=list)
    metrics: list[Path] = field(default_factory=list)


def locked_stages(addresses: Sequence[str]) -> list[LockedStage]:
    """What the lock files, each beside its dvc.yaml, say of these stages."""
    from dvc.dependency import ParamsDependency

    def locked(repo: Any, address: str) -> LockedStage:
        (stage,) = repo.stage.collect(address)
        found = LockedStage(address)
        for dep in stage.deps:
            if isinstance(dep, ParamsDependency):
                found.params |= dep.hash_info.value or {}
            elif dep.hash_info:
                found_in = found.code if is_code(dep.def_path) else found.inputs
                found_in[dep.def_path] = dep.hash_info.value
        for out in stage.outs:
            (found.metrics if out.metric else found.outputs).append(Path(out.fs_path))
        return found

    return read_repo(lambda repo: [locked(repo, address) for address in addresses])


def stages_before(address: str) -> list[str]:
    """The stages that this one needs, directly or not: once it runs, they have run or are cached."""

    needs = read_repo(needs_of_stages)
    return sorted(with_needs(needs[address], needs))


def params_of_other_parts() -> dict[str, Any]:
    """What stages depend on in other files than `params.yaml`, by their folders' names and dotted keys."""
    from dvc.dependency import ParamsDependency
    from dvc.exceptions import DvcException

    def params(repo: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for stage in repo.index.stages:
            for dep in stage.deps:
                if isinstance(dep, ParamsDependency) and Path(dep.fs_path) != PARAMS_FILE.absolute():
                    part = Path(dep.fs_path).parent.name
                    found |= {f"{part}.{key}": it for key, it in dep.read_params(flatten=False).items()}
        return found

    try:
        return read_repo(params)
    except (DvcException, OSError):  # no project of DVC, or one that it will complain of itself
        return {}
