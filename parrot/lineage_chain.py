"""What a model was made of, as lock files have it, and where each part lies."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from parrot.lineage import git
from parrot.pipeline.graph import is_code
from parrot.pipeline.lock_file import LOCK, LockEntry, read_lock


def locks_here() -> dict[str, LockEntry]:
    """What the lock files of this clone say, as they are."""
    files = [*Path().glob(LOCK.name), *Path().glob(f"*/*/{LOCK}")]
    return _all_locks([file.read_text(encoding="utf-8") for file in files])


def locks_at(commit: str) -> dict[str, LockEntry]:
    """What those of a commit say."""
    return _all_locks(_files_at(commit, LOCK.name).values())


def _files_at(commit: str, ending: str) -> dict[str, str]:
    """Texts by name, of the files of a commit whose names end so."""
    listed = (git("ls-tree", "-r", "--name-only", "--full-tree", commit) or "").splitlines()
    return {name: git("show", f"{commit}:{name}") or "" for name in listed if name.endswith(ending)}


def _all_locks(texts: Iterable[str]) -> dict[str, LockEntry]:
    """Those of all parts of the graph in one; the parts' stages work in the project's top folder."""
    return {name: entry for text in texts for name, entry in read_lock(text).items()}


def added_at(commit: str) -> dict[str, str]:
    """What `.dvc` files track: path -> hash."""
    trees = {name: yaml.safe_load(text) for name, text in _files_at(commit, ".dvc").items()}
    return {
        str(Path(name).parent / out["path"]): out.get("md5", "")
        for name, tree in trees.items()
        for out in tree.get("outs", [])
    }


def made_of(
    lock: Mapping[str, LockEntry], path: str, seen: set[str], read: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Path, hash and the stage that made it, for `path` and all that it was made of; "" made what is data.

    Args:
        read: the hash that was read, by which the stage that made it is known: lock files also keep stages
            that the graph no longer has.
    """
    made = [(name, entry) for name, entry in lock.items() if path in entry.outs]
    for name, entry in sorted(made, key=lambda item: item[1].outs[path] != read):
        if path not in seen:
            seen.add(path)
            yield path, entry.outs[path], name
            for dep, md5 in sorted(entry.deps.items()):
                if dep in seen or is_code(dep):
                    continue
                below = [
                    out for other in lock.values() for out in other.outs if Path(dep) in Path(out).parents
                ]
                inside = [dep, *below] if any(dep in other.outs for other in lock.values()) else below
                for out in inside:
                    yield from made_of(lock, out, seen, md5 if out == dep else "")
                if not inside:
                    seen.add(dep)
                    yield dep, md5, ""


def where_stored(hashes: set[str]) -> dict[str, str]:
    """Which of these DVC has whole in its cache, or on its remote."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    found: dict[str, str] = {}
    try:
        with Repo() as repo:
            for place in ("cache", "remote"):
                try:
                    store = repo.cache.local if place == "cache" else repo.cloud.get_remote_odb()
                    left = hashes - found.keys() - {""}
                    found |= {md5: place for md5 in left if _is_whole(store, md5)}
                except (DvcException, OSError):  # no remote, or one that cannot be reached
                    continue
    except DvcException:  # no project of DVC
        return {}
    return found


def _is_whole(store: Any, md5: str) -> bool:
    if not store.exists(md5):
        return False
    if not md5.endswith(".dir"):
        return True
    listed = [entry["md5"] for entry in json.loads(store.fs.cat_file(store.oid_to_path(md5)))]
    return set(listed) <= set(store.oids_exist(listed))
