"""From a card, a run, a version, a commit or a Hub repository to all the others, and how to make it anew.

What cannot be found is said; nothing of this needs what it looks for to be there.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from parrot.credentials import without_secrets
from parrot.errors import ParrotError
from parrot.lineage import git, run_tags
from parrot.lineage_chain import added_at, locks_at, locks_here, made_of, where_stored
from parrot.pipeline.lock_file import LOCK, LockEntry
from parrot.tracking.logged_models import MODEL

LINEAGE = "lineage.json"
_RUN = re.compile(r"(runs:/)?([0-9a-f]{32})")
_VERSION = re.compile(r"models:/([^/@]+)(/(\d+)|@(\w+))")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_LIBRARIES = ("python", "torch", "transformers")


@dataclass
class Trace:
    """What is known of one trained model."""

    asked: str
    weights: str | None = None
    """DVC's hash of the model's folder."""
    commit: str | None = None
    """At which it was trained."""
    recorded: str | None = None
    """The first commit whose dvc.lock has these weights."""
    card: dict[str, Any] = field(default_factory=dict)
    runs: list[dict[str, str]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    chain: list[dict[str, str]] = field(default_factory=list)
    """From the model back to the data: path, hash, the stage that made it, and where it is."""
    missing: list[str] = field(default_factory=list)
    fetch: list[str] = field(default_factory=list)
    """Commands that bring the same files."""
    rebuild: list[str] = field(default_factory=list)
    """Commands that make the same weights anew."""


def trace(asked: str) -> Trace:
    """Find all that belongs to a model.

    Args:
        asked: a package's folder, `models:/NAME/VERSION`, `models:/NAME@ALIAS`, an MLflow run, a commit, or a
            repository on the Hub.

    Raises:
        ParrotError: it is none of these, or does not say where it is from.
    """
    found = Trace(asked)
    _start(found)
    lock = _find_lock(found)
    _find_runs(found)
    if found.commit is None:
        found.missing.append("no commit is known: nothing says at which code it was trained")
    elif git("cat-file", "-e", f"{found.commit}^{{commit}}") is None:
        found.missing.append(f"commit {found.commit} is not in this clone: `git fetch --all` may bring it")
    if found.weights is None:
        found.missing.append(f"no hash of the weights is known: {LOCK} of that commit has no {MODEL}")
    elif not lock:
        found.missing.append(f"no {LOCK} of this clone, past or present, has {MODEL} with {found.weights}")
    _find_chain(found, lock)
    _compare_libraries(found)
    _say_how(found)
    return found


def _start(found: Trace) -> None:
    """What the thing itself says: weights, commit, card."""
    asked = found.asked
    if (Path(asked) / LINEAGE).is_file():
        _take_card(found, Path(asked) / LINEAGE)
    elif Path(asked).is_dir():
        raise ParrotError(f"{asked}: holds no {LINEAGE}; name a folder that `parrot package` has made")
    elif match := _VERSION.fullmatch(asked):
        from parrot.tracking import registry

        name, number, alias = match[1], match[3], match[4]
        if alias:
            version = registry.by_alias(name, alias)
        else:
            version = next((it for it in registry.versions(name) if it.version == number), None)
        if version is None:
            raise ParrotError(
                f"{asked}: not in MLflow's registry; `parrot lineage` also takes a commit or run"
            )
        found.weights = version.weights
        found.commit = None if version.commit == registry.UNKNOWN else version.commit
    elif match := _RUN.fullmatch(asked):
        from parrot.tracking.model_runs import facts_of_run

        found.weights, found.commit = facts_of_run(match[2])
    elif commit := git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{asked}^{{commit}}"):
        found.commit = commit
        entry = locks_at(commit).get("sft")
        found.weights = entry.outs.get(MODEL) if entry else None
    elif _REPOSITORY.fullmatch(asked):
        _take_card(found, _download(asked))
    else:
        raise ParrotError(f"{asked}: neither a package's folder, models:/NAME/VERSION, models:/NAME@ALIAS, a "
                          f"run, a commit of this clone, nor USER/NAME on the Hub")  # fmt: skip


def _download(repository: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, LINEAGE))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = without_secrets(str(error)).strip().partition("\n")[0]
        raise ParrotError(f"{repository}: no {LINEAGE} can be had from the Hub ({reason})") from None


def _take_card(found: Trace, file: Path) -> None:
    try:
        found.card = json.loads(file.read_text(encoding="utf-8"))
        trained = found.card["trained"]
        found.weights = found.card.get("inputs", {}).get(MODEL)
        found.commit = trained.get("commit")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ParrotError(f"{file}: not as `parrot package` writes it; package the model anew") from None
    if trained.get("uncommitted_changes") == "True":
        found.missing.append("it was trained with changes that were in no commit: the commit alone gives "
                             "other weights")  # fmt: skip


def _find_lock(found: Trace) -> Mapping[str, LockEntry]:
    """The lock that has these weights: of this clone as it is, of the commit, or of one after it."""

    def has(lock: Mapping[str, LockEntry]) -> bool:
        return found.weights is not None and any(
            found.weights == entry.outs.get(MODEL) for entry in lock.values()
        )

    if found.weights:
        search = ("log", "--all", "--reverse", "--format=%H", f"-S{found.weights}", "--", str(LOCK))
        found.recorded = next(iter((git(*search) or "").splitlines()), None)
    for commit in filter(None, (found.recorded, found.commit)):
        if has(lock := locks_at(commit)):
            return lock
    return lock if has(lock := locks_here()) else {}


def _find_runs(found: Trace) -> None:
    from parrot.tracking.model_runs import runs_and_versions

    try:
        found.runs, found.versions = runs_and_versions(found.weights, found.commit)
    except ParrotError as error:
        found.missing.append(str(error))
    else:
        if not found.runs:
            found.missing.append("MLflow has no run of it: made elsewhere, or deleted; "
                                 f"{LINEAGE} and {LOCK} have every setting")  # fmt: skip


def _find_chain(found: Trace, lock: Mapping[str, LockEntry]) -> None:
    at = found.recorded or found.commit
    added = added_at(at) if at else {}
    wanted = []
    for path, md5, stage in made_of(lock, MODEL, set()):
        # Of a folder within one that `dvc add` tracks, DVC keeps no list of its own.
        whole = next((of for top, of in added.items() if Path(top) in (Path(path), *Path(path).parents)), md5)
        wanted.append((path, md5, stage, md5 if stage else whole))
    where = where_stored({stored for *_, stored in wanted})
    for path, md5, stage, stored in wanted:
        in_git = at and git("cat-file", "-e", f"{at}:{path}") is not None
        place = where.get(stored) or ("git" if in_git else "nowhere")
        found.chain.append({"path": path, "md5": md5, "stage": stage, "where": place})
        if place == "nowhere":
            how = f"`dvc repro` makes it anew (stage {stage})" if stage else "nothing here can make it anew"
            found.missing.append(f"{path} ({md5}) is neither in DVC's cache nor on its remote: {how}")


def _compare_libraries(found: Trace) -> None:
    here, then = run_tags(), found.card.get("trained", {})
    for name in _LIBRARIES:
        if then.get(name, here[name]) != here[name]:
            found.missing.append(
                f"{name} was {then[name]} and is {here[name]} here: other bytes are possible"
            )


def _say_how(found: Trace) -> None:
    model = next((item for item in found.chain if item["path"] == MODEL), None)
    if found.recorded and model and model["where"] in ("cache", "remote"):
        found.fetch += [f"git checkout {found.recorded}", f"dvc pull {MODEL}"]
    if found.commit:
        data = git("cat-file", "-e", f"{found.commit}:data.dvc") is not None
        found.rebuild += [f"git checkout {found.commit}", *(["dvc pull data.dvc"] if data else [])]
        found.rebuild += ["dvc repro package"]


def as_text(found: Trace) -> str:
    """For people."""
    lines = [f"weights   {found.weights or 'unknown'}", f"trained   at commit {found.commit or 'unknown'}"]
    if found.recorded:
        lines.append(f"recorded  in {LOCK} since commit {found.recorded}")
    lines += [
        f"version   models:/{v['name']}/{v['version']} {' '.join(v['aliases'])}" for v in found.versions
    ]
    lines += [f"run       {run['id']} {run['name']} ({run['status']})" for run in found.runs]
    for item in found.chain:
        lines.append(
            f"made of   {item['path']} {item['md5']} by {item['stage'] or 'its publisher'}: {item['where']}"
        )
    parts = {
        "Missing": found.missing,
        "To fetch its files": found.fetch,
        "To make it anew, byte for byte on the same machine": found.rebuild,
    }
    for head, items in parts.items():
        lines += [f"\n{head}", *(f"  {item}" for item in items)] if items else []
    return without_secrets("\n".join(lines))


def as_json(found: Trace) -> str:
    """For programs."""
    return without_secrets(json.dumps(asdict(found), ensure_ascii=False, indent=2))
