"""DVC's lock file is read whole, also while another process writes it."""

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dvc.exceptions import DvcException
from dvc.repo import Repo

from parrot.lineage import dvc_hashes
from parrot.pipeline.graph import read_graph
from parrot.pipeline.lock_file import read_lock
from parrot.repository import read_repo
from parrot.tracking.dvc_stages import locked_stages

STAGES = """
stages:
  copy: {cmd: cp a b, deps: [a], outs: [b]}
  again: {cmd: cp b c, deps: [b], outs: [c]}
"""


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    Path("a").write_text("a")
    Path("dvc.yaml").write_text(STAGES)
    with Repo() as repo:
        repo.reproduce()
    return tmp_path / "dvc.lock"


@contextmanager
def being_written(lock: Path, so_far: str):
    """Another DVC has written so much of the file, and the rest half a second later."""
    whole, begun = lock.read_text(), threading.Event()

    def write() -> None:
        with Repo() as repo, repo.lock:
            lock.write_text(so_far)
            begun.set()
            time.sleep(0.5)
            lock.write_text(whole)

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait()
    yield
    writer.join()


@pytest.mark.parametrize(
    "read",
    [
        lambda: locked_stages(["copy", "again"]),
        lambda: dvc_hashes("again", "deps"),
        lambda: read_lock(),
        lambda: [stage.why for stage in read_graph().values()],
    ],
    ids=["stages", "hashes", "entries", "graph"],
)
def test_a_lock_that_is_being_written_is_read_whole(lock: Path, read: Callable[[], Any]) -> None:
    expected, whole = read(), lock.read_text()
    for so_far in ("", whole.partition("  again:")[0]):  # damaged, and whole but for a stage
        with being_written(lock, so_far):
            assert read() == expected


def test_what_takes_its_time_does_not_keep_another_dvc_waiting(lock: Path) -> None:
    def look(repo: Repo) -> int:
        (stage,) = repo.stage.collect("again")
        with Repo() as other, other.lock:
            return len(stage.outs)

    assert read_repo(look) == 1


def test_one_that_is_damaged_is_an_error_of_dvc(lock: Path) -> None:
    lock.write_text("")
    with pytest.raises(DvcException):
        read_repo(lambda repo: repo.stage.collect("copy"))
