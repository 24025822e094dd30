"""How a stage's files travel between the clone that runs the pipeline and a worker's clone: by DVC's remote.

    python -m parrot.pipeline.travel send|receive|give|take STAGE

The clone that runs the pipeline sends what the stage reads, the worker receives it, runs the stage and
gives what it made, with its entry in DVC's run cache; the first clone takes that. Nothing else travels, so a
worker holds the data of its own stages and no more.
"""

import sys
from typing import Any

from parrot.credentials import without_secrets
from parrot.errors import ParrotError

WORKER_VARIABLE = "PARROT_WORKER"
"""Set for a stage on a worker: there is what this stage reads, and not what later ones will."""


def send(address: str) -> None:
    """Push what the stage reads and DVC's cache has."""
    with _repo() as repo:
        if targets := _tracked_inputs(repo, address):
            repo.push(targets)


def receive(address: str) -> None:
    """Pull what the stage reads, and DVC's run cache: what was done before is not done again."""
    with _repo() as repo:
        with repo.lock:
            repo.stage_cache.pull(None)
        if targets := _tracked_inputs(repo, address):
            repo.pull(targets, force=True)


def give(address: str) -> None:
    """Push what the stage made and that it was made of just these inputs."""
    from dvc.stage.serialize import to_single_stage_lockfile

    with _repo() as repo, repo.lock:
        (stage,) = repo.stage.collect(address)
        # Through the run cache, and not the stage, because there metrics and plots are cached, too.
        made = repo.stage_cache._create_stage(to_single_stage_lockfile(stage), wdir=stage.wdir)
        for objects in made.get_used_objs().values():
            if failed := repo.cloud.push(objects).failed:
                raise ParrotError(f"{address}: {len(failed)} of its files did not reach the DVC remote")
        repo.stage_cache.push(None)


def take(address: str) -> None:
    """Put the outputs that a worker has given in place.

    Raises:
        ParrotError: the remote has no such outputs of these inputs.
    """
    from dvc.stage.cache import RunCacheNotFoundError

    with _repo() as repo, repo.lock:
        repo.stage_cache.pull(None)
        (stage,) = repo.stage.collect(address)
        try:
            repo.stage_cache.restore(stage, pull=True)
        except RunCacheNotFoundError:
            raise ParrotError(
                f"{address}: the worker has ended, but the DVC remote has no outputs of these inputs; "
                "do both clones name the same remote?"
            ) from None


def _repo() -> Any:
    from dvc.repo import Repo

    return Repo(_wait_for_lock=True)


def _tracked_inputs(repo: Any, address: str) -> list[str]:
    """The outputs of stages and of .dvc files that the stage reads, or what it reads of them."""
    from dvc.dependency import ParamsDependency
    from dvc.exceptions import OutputNotFoundError

    (stage,) = repo.stage.collect(address)
    found: list[str] = []
    for dependency in stage.deps:
        if isinstance(dependency, ParamsDependency):
            continue
        try:
            outputs = repo.find_outs_by_path(dependency.fs_path, recursive=True, strict=False)
        except OutputNotFoundError:
            continue  # git has it
        for output in filter(lambda output: output.use_cache, outputs):
            inside = output.fs.isin(dependency.fs_path, output.fs_path)
            found.append(dependency.fs_path if inside else output.fs_path)
    return found


def main() -> None:
    from dvc.exceptions import DvcException

    action, address = sys.argv[1:]
    try:
        {"send": send, "receive": receive, "give": give, "take": take}[action](address)
    except (ParrotError, DvcException) as error:
        sys.exit(f"parrot: {without_secrets(' '.join(str(error).split()))}")


if __name__ == "__main__":
    main()
