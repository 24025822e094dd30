"""From a package to what others use: register, gate, publish, promote, and the way back.

Each step can be done again after a kill: the same weights are the same version, a verdict or publication that
the ledger holds gets no second line, and what is published already is not sent again. The alias `champion`
moves last: before that a repeated release judges the same two models, and after it there is nothing to do.
Where another model comes instead, `_champion` finishes what the killed release began.
"""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parrot.config import Params
from parrot.errors import Gone, ParrotError
from parrot.files import write_json
from parrot.lineage import dvc_hashes
from parrot.pipeline.locks import patiently
from parrot.pipeline.processes import file_lock
from parrot.publishing.gate import AGAIN, GateVerdict, gate, undecided
from parrot.publishing.ledger import LEDGER, append, held_back, promised, published_before, read_ledger, shown
from parrot.repository import as_sentence, read_repo
from parrot.tracking.attachments import attach

if TYPE_CHECKING:
    from parrot.publishing.target import Published
    from parrot.tracking.registry import ModelVersion

MODEL, EVALUATION, PACKAGE = Path("artifacts/sft"), Path("artifacts/evaluation"), Path("artifacts/package")
_LOCK = ".release.lock"
_IDENTITY = ("version", "weights", "commit")
_STAGES = ("evaluate", "package")
"""What a release takes from the graph."""


@dataclass(frozen=True)
class Release:
    """What was decided and done."""

    verdict: GateVerdict
    version: "ModelVersion | None"
    """The challenger, as it is registered; None where it is not: a dry run, or another's evaluation."""
    champion: "ModelVersion | None"
    """The one before."""
    published: "Published | None" = None
    """None: the champion stays."""
    waits_at: str | None = None
    """A pull request: once a person has merged it, the next release finishes what this one began."""

    @property
    def is_champion(self) -> bool:
        """Whether the challenger is the published model: now, or since an earlier release."""
        return self.published is not None or (self.version is not None and self.version == self.champion)


def judge(
    params: Params, *, challenger: Path = EVALUATION, champion: Path | None = None, dry_run: bool = False
) -> Release:
    """The gate's verdict, noted in the ledger and, for this checkout's model, in the registry.

    Args:
        challenger: an evaluation folder; the default is this checkout's.
        champion: one of the champion's, if it was evaluated anew (default: the registry's).
        dry_run: note nothing, register nothing.

    Raises:
        ParrotError: the challenger's evaluation is broken or stale, or MLflow's store cannot be used.
    """
    with _alone(params, dry_run):
        return _judge(params, challenger, champion, dry_run=dry_run)


def release(params: Params, *, champion: Path | None = None, dry_run: bool = False) -> Release:
    """Publish what `package` made last, if the gate lets it. Two at once wait for each other.

    Args:
        champion: an evaluation folder of the champion's, if it was evaluated anew.
        dry_run: only say what the verdict would be.

    Raises:
        ParrotError: as `judge`, or the target does not take the package. Another call goes on.
    """
    from parrot.publishing.publish import publish, target_of
    from parrot.tracking import registry

    with _alone(params, dry_run):
        judged = _judge(params, EVALUATION, champion, dry_run=dry_run)
        version = judged.version
        if dry_run or version is None or judged.verdict.decision != "PROMOTE":
            return judged
        paragraph = judged.verdict.as_markdown()
        published = publish(PACKAGE, target_of(params), version=version.version, paragraph=paragraph)
        if published.placed and published.placed.pull_request:
            return replace(judged, waits_at=published.placed.pull_request)
        replaced = judged.champion and _identity(judged.champion)
        facts = {**_identity(version), "replaced": replaced, "target": published.name}
        append(_ledger(params), "publication", params.package.name, facts, _revision(published))
        registry.promote(version)
        return replace(judged, published=published)


def rollback(params: Params, version: str | None = None, *, hold: bool = False) -> "Published":
    """Go back to an earlier version: target, ledger, and the registry's alias.

    Args:
        version: default: the one that the champion replaced when it was published.
        hold: no release publishes the champion of now again, until a person goes back to it.

    Raises:
        ParrotError: there is no such version, or none before.
    """
    from parrot.publishing.publish import retag, target_of
    from parrot.tracking import registry

    name = params.package.name
    with _alone(params):
        known = {one.version: one for one in registry.versions(name)}
        there = f"there: {', '.join(known) or 'none'}"
        last = shown(read_ledger(_ledger(params)), name)
        try:
            # A way back that was killed before its last step is done again, from the champion of then.
            again = last is not None and last["event"] == "rollback"
            champion = registry.champion(name) if again else _champion(params)
            current = champion and _identity(champion)
        except Gone:  # the ledger knows which it was
            current = {key: str(last[key]) for key in _IDENTITY} if last else None
        if version is None and current:
            version = published_before(read_ledger(_ledger(params)), name, current["version"])
        if version is None:
            raise ParrotError(f"{name}: the ledger knows no version before; name one ({there})")
        if (to := known.get(version)) is None:
            raise ParrotError(f"{name}: the registry has no version {version}; {there}")
        published = retag(target_of(params), version)
        facts = {**_identity(to), "replaced": current, "hold": hold, "target": published.name}
        if current != _identity(to):
            append(_ledger(params), "rollback", name, facts, _revision(published))
            registry.promote(to)
        return published


def _judge(params: Params, challenger: Path, champion: Path | None, *, dry_run: bool) -> Release:
    from parrot.tracking import registry

    name, version = params.package.name, None
    if challenger == EVALUATION:
        _check_up_to_date()
        version = _registered(name) if dry_run else registry.register(name)
    verdict, before = _verdict(params, version, challenger, champion, dry_run=dry_run)
    judged = Release(verdict, version, before)
    if dry_run or judged.is_champion:
        return judged
    identity = _identity(version) if version else dict.fromkeys(_IDENTITY)
    facts = {**identity, "champion": before and _identity(before), **verdict.as_json()}
    append(_ledger(params), "verdict", name, facts)
    if version is not None:
        registry.tag(version, "gate.decision", verdict.decision)
        registry.tag(version, "gate.reasons", "; ".join(verdict.reasons))
        if version.run_id:
            with tempfile.TemporaryDirectory() as folder:
                write_json(file := Path(folder) / "verdict.json", facts)
                attach(version.run_id, file, "gate")
    return judged


def _verdict(
    params: Params,
    version: "ModelVersion | None",
    challenger: Path,
    champion: Path | None,
    *,
    dry_run: bool,
) -> tuple[GateVerdict, "ModelVersion | None"]:
    """The verdict, and the version that the challenger was compared with."""
    from parrot.tracking import registry

    name, config, before = params.package.name, params.gate, None
    try:
        before = _champion(params, version.version if version else None, dry_run=dry_run)
    except Gone as error:
        if champion is None:
            return undecided(f"the champion is gone: {error}", config), None
    if version is not None and version == before:
        return undecided(f"version {version.version} is the champion already", config), before
    held = held_back(read_ledger(_ledger(params)), name)
    if version is not None and version.weights in held:
        number = held[version.weights]
        reason = f"version {number} was taken back; `parrot rollback {number}` publishes it again"
        return undecided(reason, config), before
    with tempfile.TemporaryDirectory() as folder:
        if champion is None and before is not None:
            try:
                champion = registry.fetch_evaluation(before, Path(folder))
            except Gone as error:
                reason = f"the evaluation of version {before.version} cannot be had ({error}); {AGAIN}"
                return undecided(reason, config), before
        return gate(challenger, champion, config), before


def _champion(
    params: Params, challenger: str | None = None, *, dry_run: bool = False
) -> "ModelVersion | None":
    """The version that is shown. What a killed release or way back had still to do is done first.

    Args:
        challenger: the version whose release this is: it goes on by itself.
        dry_run: only look.

    Raises:
        Gone, ParrotError: as `registry.champion`, or the target cannot be asked.
    """
    from parrot.publishing.publish import target_of
    from parrot.tracking import registry

    name, entries = params.package.name, read_ledger(_ledger(params))
    last = shown(entries, name)
    if waiting := [entry for entry in promised(entries, name) if entry["version"] != challenger]:
        target = target_of(params)
        current = target.current()
        for entry in (one for one in waiting if one["version"] == current):
            last = {key: entry[key] for key in _IDENTITY}
            last |= {"replaced": entry["champion"], "target": target.name}
            if not dry_run:
                append(_ledger(params), "publication", name, last)
    champion = registry.champion(name)
    # Another champion than the one before it: a clone with a ledger of its own has published since.
    if last is None or (champion and _identity(champion)) != last["replaced"]:
        return champion
    to = {key: last[key] for key in _IDENTITY}
    if (version := next((one for one in registry.versions(name) if _identity(one) == to), None)) is None:
        return champion
    if not dry_run:
        registry.promote(version)
    return version


def _check_up_to_date() -> None:
    """
    Raises:
        ParrotError: what is on the disk was not made of what is there: its numbers are another model's.
            Or a lock of DVC is damaged.
    """
    from dvc.exceptions import DvcException

    def status() -> dict[str, Any]:
        return read_repo(lambda repo: repo.status(targets=list(_STAGES)), wait=False)

    try:
        stale = patiently(status, lambda line: print(f"parrot: {line}", file=sys.stderr))
    except DvcException as error:
        raise as_sentence(error, "dvc status") from None
    if stale:
        raise ParrotError(f"{', '.join(stale)}: not up to date; run `dvc repro` first, it says what changed")


def _registered(name: str) -> "ModelVersion | None":
    """The version that this checkout's model has already."""
    from parrot.tracking import registry

    weights = dvc_hashes("sft", "outs").get(MODEL.as_posix())
    return next((one for one in registry.versions(name) if one.weights == weights), None)


@contextlib.contextmanager
def _alone(params: Params, dry_run: bool = False) -> Iterator[None]:
    """One release or way back at a time, in all clones that share the folder."""
    if dry_run:
        yield
        return
    with file_lock(Path(params.publish.folder) / _LOCK):
        yield


def _ledger(params: Params) -> Path:
    return Path(params.publish.folder) / LEDGER


def _identity(version: "ModelVersion") -> dict[str, str]:
    return {key: str(getattr(version, key)) for key in _IDENTITY}


def _revision(published: "Published") -> dict[str, str]:
    """Not known of what was there already."""
    return {"revision": published.placed.revision} if published.placed else {}
