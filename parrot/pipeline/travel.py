"""How a stage's files travel between the clone that runs the pipeline and a worker's clone: by DVC's remote.

    python -m parrot.pipeline.travel send|receive|give STAGE
    python -m parrot.pipeline.travel receive STAGE anew
    python -m parrot.pipeline.travel take STAGE MADE

The clone that runs the pipeline sends what the stage reads, the worker receives it, runs the stage and
gives what it made, with its entry in DVC's run cache, which it names in its last line; the first clone takes
that entry. Nothing else travels, so a worker holds the data of its own stages and no more.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
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


def receive(address: str, anew: str = "") -> None:
    """Pull what the stage reads, and DVC's run cache: what was done before is not done again.

    Unless all is to be made anew, what was made of these inputs before is put in place. `dvc repro --pull`
    would leave out metrics and plots that are git's: a training that is cancelled has removed the last ones.
    """
    from dvc.stage.cache import RunCacheNotFoundError

    with _repo() as repo:
        with repo.lock:
            repo.stage_cache.pull(None)
        if targets := _tracked_inputs(repo, address):
            repo.pull(targets, force=True)
        if not anew:
            (stage,) = repo.stage.collect(address)
            with suppress(RunCacheNotFoundError), repo.lock:
                repo.stage_cache.restore(stage, pull=True)


def give(address: str) -> str:
    """Push what the stage made and that it was made of just these inputs.

    Returns:
        The name of the entry of DVC's run cache that says so.
    """
    from dvc.stage.cache import _get_cache_hash
    from dvc.stage.serialize import to_single_stage_lockfile

    with _repo() as repo, repo.lock:
        (stage,) = repo.stage.collect(address)
        repo.stage_cache.save(stage)  # not there if nothing was to be done
        entry = to_single_stage_lockfile(stage)
        # Through the run cache, and not the stage, because there metrics and plots are cached, too.
        made = repo.stage_cache._create_stage(entry, wdir=stage.wdir)
        for objects in made.get_used_objs().values():
            if failed := repo.cloud.push(objects).failed:
                raise ParrotError(f"{address}: {len(failed)} of its files did not reach the DVC remote")
        repo.stage_cache.push(None)
        return str(_get_cache_hash(entry))


def take(address: str, name: str) -> None:
    """Put the outputs that a worker has given in place, and into dvc.lock.

    Not whatever the run cache has of these inputs: a stage that is forced to run may make something new.

    Args:
        name: of the entry, as `give` names it.

    Raises:
        ParrotError: the remote has no such outputs of these inputs.
    """
    from dvc.stage.cache import _get_stage_hash

    with _repo() as repo, repo.lock:
        repo.stage_cache.pull(None)
        (stage,) = repo.stage.collect(address)
        stage.save_deps()
        entry = repo.stage_cache._load_cache(_get_stage_hash(stage), name)
        made = entry and repo.stage_cache._create_stage(entry, wdir=stage.wdir)
        for objects in made.get_used_objs().values() if made else ():
            repo.cloud.pull(objects)
        if not made or not made.outs_cached():
            raise ParrotError(
                f"{address}: the worker has ended, but the DVC remote has no outputs of these inputs; "
                "do both clones name the same remote?"
            )
        made.checkout(force=True)
        stage.save()
        stage.commit()
        stage.dump(update_pipeline=False)


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

    action, *rest = sys.argv[1:]
    actions: dict[str, Callable[..., str | None]] = {
        "send": send,
        "receive": receive,
        "give": give,
        "take": take,
    }
    try:
        if said := actions[action](*rest):
            print(said)
    except (ParrotError, DvcException) as error:
        sys.exit(f"parrot: {without_secrets(' '.join(str(error).split()))}")


if __name__ == "__main__":
    main()
