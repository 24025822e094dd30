"""What a model was made of, read from lock files."""

from pathlib import Path

import pytest

from parrot.lineage_chain import made_of
from parrot.lineage_report import trace
from parrot.pipeline.lock_file import LockEntry
from parrot.tracking import registry


def test_a_stage_that_the_graph_no_longer_has_is_not_taken_for_the_maker() -> None:
    lock = {
        "backbones": LockEntry({}, {"backbone": "old"}, {}),
        "backbone@language": LockEntry({"data": "d"}, {"backbone": "new"}, {}),
        "sft": LockEntry({"backbone": "new", "parrot/model": "code"}, {"model": "m"}, {}),
    }
    assert list(made_of(lock, "model", set())) == [
        ("model", "m", "sft"),
        ("backbone", "new", "backbone@language"),
        ("data", "d", ""),
    ]


def test_of_a_version_from_a_project_without_git_no_commit_is_known(
    tracked_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registry.ModelVersion("parrot", "1", "", registry.UNKNOWN, "f" * 32)
    monkeypatch.setattr(registry, "versions", lambda name: [version])
    found = trace("models:/parrot/1")
    assert found.commit is None and "no commit is known" in "".join(found.missing)
    assert not found.rebuild, "no `git checkout unknown`"
