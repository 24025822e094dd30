"""DVC's lock file is read whole, also while another process writes it."""

import threading
import time
from pathlib import Path

import pytest
from dvc.exceptions import DvcException
from dvc.repo import Repo

from parrot import repository
from parrot.lineage import dvc_hashes

STAGES = "stages:\n  copy:\n    cmd: cp a b\n    deps: [a]\n    outs: [b]\n"


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    Path("a").write_text("a")
    Path("dvc.yaml").write_text(STAGES)
    with Repo() as repo:
        repo.reproduce()
    return tmp_path / "dvc.lock"


def test_a_lock_that_is_being_written_is_read_again(lock: Path) -> None:
    expected, whole = dvc_hashes("copy", "deps"), lock.read_text()
    assert list(expected) == ["a"]
    lock.write_text("")  # as DVC leaves it between opening and writing
    writer = threading.Timer(0.3, lock.write_text, [whole])
    writer.start()
    began = time.monotonic()
    assert dvc_hashes("copy", "deps") == expected
    assert time.monotonic() - began > 0.2
    writer.join()


def test_one_that_stays_damaged_is_an_error_of_dvc(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "_PAUSE_SECONDS", 0.0)
    lock.write_text("")
    with pytest.raises(DvcException):
        repository.read_repo(lambda repo: repo.stage.collect("copy"))
