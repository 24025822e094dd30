"""The pipeline's graph, read from DVC, and how long what is left of it may take.

DVC is imported where it is asked: that takes half a second, and not every command asks.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parrot.errors import ParrotError
from parrot.pipeline.locks import patiently
from parrot.pipeline.processes import STAGE_VARIABLE, dvc_process
from parrot.repository import as_sentence, read_repo

GRAPH = Path("dvc.yaml")
CODE = ("parrot", "examples")
"""The folders of the project's own code; whatever else a stage depends on is an input."""
_MOST_CHANGES = 4
DEFAULT_MINUTES = 0.1
"""For a stage of dvc.yaml without `meta: {minutes: …}`."""


@dataclass(frozen=True)
class GraphStage:
    name: str
    """Its address, such as `prepare@captions` or `examples/picture_world/dvc.yaml:vision`."""
    needs: frozenset[str]
    """Names of the stages whose outputs it reads."""
    minutes: float
    """About how long it takes on two cores; 0 if it is up to date."""
    why: str = ""
    """What makes it run, in words; empty if it is up to date."""
    worker: str = ""
    """The work pool that it is for, such as `gpu` (`meta: {worker: gpu}`); empty: any place does."""
    timeout_minutes: float | None = None
    """After that it is ended and has failed (`meta: {timeout_minutes: …}`)."""
    shown: tuple[str, ...] = ()
    """Its metrics and plots: what people look at."""


@dataclass(frozen=True)
class Reads:
    """What decides of a stage's result."""

    params: dict[str, Any]
    """Dotted key -> value."""
    inputs: list[Path]
    """Files and folders, but for the project's own code."""
    code: list[Path]


def display_name(address: str) -> str:
    """What people read of a stage: `picture_world:vision` for `examples/picture_world/dvc.yaml:vision`."""
    file, _, name = address.rpartition(":")
    return f"{Path(file).parent.name}:{name}" if file else name


def is_code(path: Path | str) -> bool:
    """Whether this dependency of a stage is the project's own code."""
    return Path(path).parts[0] in CODE


def stage_address() -> str | None:
    """The address of the stage that this process is; None where DVC did not start it.

    DVC gives it as seen from the folder in which DVC was started; here it is from the project's top folder.
    """
    address = os.environ.get(STAGE_VARIABLE)
    dvc = dvc_process()
    if not address or not dvc:
        return address
    file, _, name = address.rpartition(":")
    path = Path(os.path.relpath(Path(dvc.cwd(), file or GRAPH)))
    return name if path == GRAPH else f"{path.as_posix()}:{name}"


def read_by(address: str) -> Reads:
    """What dvc.yaml says that the stage depends on, each parameter with its value.

    Raises:
        ParrotError: there is no such stage, or dvc.yaml is wrong.
    """
    from dvc.dependency import ParamsDependency
    from dvc.exceptions import DvcException

    def reads(repo: Any) -> Reads:
        found = Reads({}, [], [])
        (stage,) = repo.stage.collect(address)
        for dependency in stage.deps:
            if isinstance(dependency, ParamsDependency):
                found.params.update(dependency.read_params())
            else:
                path = Path(dependency.def_path)
                (found.code if is_code(path) else found.inputs).append(path)
        return found

    try:
        return read_repo(reads)
    except DvcException as error:
        raise as_sentence(error, "dvc.yaml") from None


def read_graph(
    targets: Sequence[str] = (),
    say: Callable[[str], object] = print,
    *,
    alone: bool = False,
    anyway: str = "",
) -> dict[str, GraphStage]:
    """The stages that `targets` need, each after those it needs itself; first what most time hangs on.

    Imports and data tracked by a .dvc file are inputs, not stages. Another DVC that is at work here is
    waited for.

    Args:
        targets: addresses or display names, or `prepare` for each `prepare@…`; none: as for `dvc repro` all
            stages of dvc.yaml. Those of another folder's dvc.yaml come along if they are needed.
        say: how to tell a person for whom.
        alone: leave out what the targets need.
        anyway: why every stage is to run, up to date or not.

    Raises:
        ParrotError: dvc.yaml is missing or wrong, a target is no stage, or a lock of DVC is
            damaged or left behind.
    """
    if not GRAPH.exists():
        raise ParrotError("dvc.yaml: not found; run from the project's top folder")
    from dvc.exceptions import DvcException

    def read() -> dict[str, GraphStage]:
        return read_repo(lambda repo: _read_graph(repo, targets, alone, anyway), wait=False)

    try:
        return patiently(read, say)
    except DvcException as error:
        raise as_sentence(error, "dvc.yaml") from None


def _read_graph(repo: Any, targets: Sequence[str], alone: bool, anyway: str) -> dict[str, GraphStage]:
    commands = [stage for stage in repo.index.stages if stage.cmd]
    needs = needs_of_stages(repo)
    wanted = set(_addresses(targets, list(needs)))
    if alone:
        needs = {name: its & wanted for name, its in needs.items()}
    else:
        wanted = with_needs(wanted, needs)
    chosen = [stage for stage in commands if stage.addressing in wanted]
    with repo.lock:
        changed = {stage.addressing: _changes(stage) for stage in chosen}
    metas = {stage.addressing: stage.meta or {} for stage in chosen}
    shown = {
        stage.addressing: tuple(output.def_path for output in stage.outs if output.metric or output.plot)
        for stage in chosen
    }
    stages: dict[str, GraphStage] = {}
    for name in _ordered({name: needs[name] for name in metas}):
        before = [display_name(need) for need in sorted(needs[name]) if stages[need].why]
        why = changed[name] or (f"after {', '.join(before)}" if before else anyway)
        meta = metas[name]
        minutes = float(meta.get("minutes", DEFAULT_MINUTES)) if why else 0.0
        worker, timeout = meta.get("worker", ""), meta.get("timeout_minutes")
        stages[name] = GraphStage(name, needs[name], minutes, why, worker, timeout, shown[name])
    return _longest_first(stages)


def _changes(stage: Any) -> str:
    """What is not as it was when the stage ended last, such as "data/mmmb, sft.moe"; empty: all is."""
    status = stage.status().get(stage.addressing, [])
    if status and not any(output.hash_info for output in stage.outs):
        return "never run"
    found: list[str] = []
    for entry in status:
        if isinstance(entry, str):
            found.append("its command" if entry == "changed command" else entry)
            continue
        for path, how in next(iter(entry.values())).items():
            found += how if isinstance(how, dict) else [path if how == "modified" else f"{path} {how}"]
    more = len(found) - _MOST_CHANGES
    return ", ".join(found[:_MOST_CHANGES]) + (f" and {more} more" if more > 0 else "")


def _longest_first(stages: Mapping[str, GraphStage]) -> dict[str, GraphStage]:
    """By the minutes from a stage's begin to the end of all that needs it; a stage follows its needs."""
    minutes: dict[str, float] = {}
    for name in reversed(list(stages)):
        behind = [minutes[other] for other in minutes if name in stages[other].needs]
        minutes[name] = stages[name].minutes + max(behind, default=0.0)
    return dict(sorted(stages.items(), key=lambda item: -minutes[item[0]]))


def remaining_minutes(
    stages: Mapping[str, GraphStage],
    done: Collection[str],
    running: Mapping[str, float],
    *,
    parallel: int,
    pace: float,
) -> float:
    """Minutes until all stages are done, if `parallel` of them run at a time.

    Args:
        running: minutes since each running stage began.
        pace: minutes that a stage takes per minute it is said to take.
    """
    finished = set(done)
    ends = {name: max(stages[name].minutes * pace - since, 0.0) for name, since in running.items()}
    waiting = [name for name in stages if name not in finished and name not in ends]
    now = 0.0
    while waiting or ends:
        for name in ready(stages, waiting, finished)[: parallel - len(ends)]:
            waiting.remove(name)
            ends[name] = now + stages[name].minutes * pace
        first = min(ends, key=lambda name: ends[name])
        now = ends.pop(first)
        finished.add(first)
    return now


def ready(stages: Mapping[str, GraphStage], waiting: Sequence[str], done: Collection[str]) -> list[str]:
    """Those of `waiting` that need nothing that is not done."""
    return [name for name in waiting if stages[name].needs <= set(done)]


def _addresses(targets: Sequence[str], known: Sequence[str]) -> list[str]:
    """Those of the stages that are meant."""
    if not targets:
        return [address for address in known if ":" not in address]
    found: list[str] = []
    for target in targets:
        meant = [name for name in known if target in (name, display_name(name), name.partition("@")[0])]
        if not meant:
            shown = ", ".join(map(display_name, known))
            raise ParrotError(f"dvc.yaml: no stage '{target}'; its stages are {shown}")
        found += meant
    return found


def needs_of_stages(repo: Any) -> dict[str, frozenset[str]]:
    """The address of each stage -> those of the stages whose outputs it reads."""
    graph = repo.index.graph
    return {
        stage.addressing: frozenset(need.addressing for need in graph.successors(stage) if need.cmd)
        for stage in repo.index.stages
        if stage.cmd
    }


def with_needs(addresses: Collection[str], needs: Mapping[str, frozenset[str]]) -> set[str]:
    """These stages and all that they need, directly or not."""
    found: set[str] = set()
    to_visit = list(addresses)
    while to_visit:
        address = to_visit.pop()
        if address not in found:
            found.add(address)
            to_visit += needs[address]
    return found


def _ordered(needs: Mapping[str, frozenset[str]]) -> list[str]:
    """Topological, and otherwise as in dvc.yaml."""
    order: list[str] = []
    waiting = list(needs)
    while waiting:
        name = next(name for name in waiting if needs[name] <= set(order))
        waiting.remove(name)
        order.append(name)
    return order
