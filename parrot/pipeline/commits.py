"""The state of the project that a worker needs: a commit, and the few files that runs themselves change."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from parrot.credentials import holds_secret
from parrot.errors import ParrotError
from parrot.files import write_text

_CHANGED_BY_RUNS = (":(glob)**/params.yaml", ":(glob)**/dvc.lock", ":(glob)**/*.dvc")
"""A profile, an experiment, new data and every stage that ends: they need no commit to reach a worker."""

_GIT_SECONDS = 600.0


def committed(address: str, paths: Sequence[Path]) -> str:
    """The commit that is checked out, in which `paths`, what the stage reads, is as it is here.

    Raises:
        ParrotError: there is no git or no commit, or there are changes that it does not have.
    """
    commit = _git("rev-parse", "--verify", "HEAD").strip()
    if changed := _changed(["dvc.yaml", *map(str, paths)]):
        raise ParrotError(
            f"{address}: a worker needs a commit, and {', '.join(changed[:3])} "
            f"{'has' if len(changed) == 1 else 'have'} changes that none has; commit and push them"
        )
    return commit


def changed_by_runs() -> dict[str, str]:
    """Path -> text of the files that the commit has otherwise, of those that need no commit.

    Raises:
        ParrotError: one holds a password or token, which Prefect's server would keep.
    """
    names = [name for name in _changed(_CHANGED_BY_RUNS) if Path(name).exists()]
    files = {name: Path(name).read_text(encoding="utf-8") for name in names}
    for name in files:
        if name.endswith(".dvc") and holds_secret(files[name]):
            raise ParrotError(
                f"{name}: holds a password or token, which git and Prefect's server would keep; take it out, "
                "and give it to DVC's remote with `dvc remote modify --local`"
            )
    return files


def check_out(commit: str, files: Mapping[str, str]) -> None:
    """Bring this clone to the commit, with these files as they are in the clone that runs the pipeline.

    Raises:
        ParrotError: the commit was not pushed, or files were changed here by hand.
    """
    if _run("cat-file", "-e", f"{commit}^{{commit}}").returncode:
        _git("fetch", "--quiet", "--all")
        if _run("cat-file", "-e", f"{commit}^{{commit}}").returncode:
            raise ParrotError(f"{Path.cwd()}: no remote of this clone has the commit {commit[:10]}; push it")
    # What the last stage left: its lock, metrics and plots. Code is nobody's to change in a worker's clone.
    if changed := _changed(["dvc.yaml", "parrot", "examples", "flows"], untracked=False):
        by_hand = [name for name in changed if Path(name).name not in ("params.yaml", "dvc.lock")]
        if by_hand:
            raise ParrotError(
                f"{', '.join(by_hand[:3])}: changed in a worker's clone; commit or undo it there"
            )
    _git("checkout", "--quiet", "--force", "--detach", commit)
    for name, text in files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ParrotError(f"{name}: not a path in the project")
        write_text(name, text)


def _changed(paths: Sequence[str], *, untracked: bool = True) -> list[str]:
    """Those that the commit has otherwise or, with `untracked`, not at all."""
    listed = _git(
        "status", "--porcelain", "-z", "--no-renames", f"--untracked-files={'all' if untracked else 'no'}",
        "--", *paths,
    )  # fmt: skip
    return [entry[3:] for entry in listed.split("\0") if entry]


def _git(*arguments: str) -> str:
    done = _run(*arguments)
    if done.returncode:
        raise ParrotError(f"git {arguments[0]}: {' '.join(done.stderr.split())}")
    return done.stdout


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """With nobody to ask for a password, and no longer than a network may take."""
    try:
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL,
            env=os.environ | {"GIT_TERMINAL_PROMPT": "0"}, timeout=_GIT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ParrotError(f"git {arguments[0]}: has not ended after {_GIT_SECONDS:g} seconds") from None
