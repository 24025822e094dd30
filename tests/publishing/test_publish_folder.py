"""Publishing into a folder: whole or not at all."""

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from places import (
    PARAMS,
    Make,
    in_folder,
    number_of,
)

from parrot.errors import ParrotError
from parrot.publishing import folder_target
from parrot.publishing.folder_target import FolderTarget
from parrot.publishing.publish import next_version, publish, target_of, would_send


def test_a_killed_copy_is_not_seen_and_the_next_attempt_finishes_it(
    tmp_path: Path, package: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = FolderTarget(tmp_path / "published/parrot")
    publish(package(1), target, version="1")
    for name in ("copyfile", "link"):
        with monkeypatch.context() as patch:
            killed: Callable[..., Any] = lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt)  # noqa: E731
            patch.setattr(folder_target.shutil if name == "copyfile" else folder_target.os, name, killed)
            with pytest.raises(KeyboardInterrupt):
                publish(package(2), target, version="2")
        assert target.versions() == ["1"] and number_of(in_folder(target.folder / "current")) == 1
    with monkeypatch.context() as patch:
        patch.setattr(FolderTarget, "_show", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(package(2), target, version="2")
    assert target.current() == "1"
    assert publish(package(2), target, version="2").placed
    assert target.current() == "2" and number_of(in_folder(target.folder / "current")) == 2


@pytest.mark.parametrize(
    ("where", "name", "files"),
    [("shutil", "copyfile", 0), ("shutil", "copyfile", 3), ("os", "link", 1), ("Path", "symlink_to", 0)],
    ids=["the first file", "in the middle", "at the last weights", "all but the link"],
)
def test_a_full_disk_is_said_and_the_next_attempt_finishes(
    tmp_path: Path, package: Make, monkeypatch: pytest.MonkeyPatch, where: str, name: str, files: int
) -> None:
    target = FolderTarget(tmp_path / "published/parrot")
    publish(package(1), target, version="1")
    module = getattr(folder_target, where)
    real, passed = getattr(module, name), itertools.count()

    def full(*arguments: Any) -> None:
        if next(passed) >= files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, full)
        if name == "link":  # a link needs no space; where it cannot be made, the weights are copied
            patch.setattr(folder_target.shutil, "copyfile", full)
        with pytest.raises(ParrotError, match="no space left while writing"):
            publish(package(2), target, version="2")
    assert target.current() == "1" and number_of(in_folder(target.folder / "current")) == 1
    assert not list(target.folder.glob(".2.partial*"))
    assert publish(package(2), target, version="2").placed
    assert target.versions() == ["1", "2"] and number_of(in_folder(target.folder / "current")) == 2


def test_weights_are_not_stored_twice_and_a_cache_is_left_alone(tmp_path: Path, package: Make) -> None:
    folder = package(1)
    cached = tmp_path / "cache"
    os.link(folder / "model-2.safetensors", cached)
    cached.chmod(0o444)
    target = FolderTarget(tmp_path / "published/parrot")
    publish(folder, target, version="1")
    assert (target.folder / "1/model-1.safetensors").samefile(folder / "model-1.safetensors")
    assert not (target.folder / "1/model-2.safetensors").samefile(cached)
    assert cached.stat().st_mode & 0o777 == 0o444


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, package: Make) -> None:
    (tmp_path / "published").write_text("a file")
    with pytest.raises(ParrotError, match=r"parrot: cannot be written \(Not a directory\); correct"):
        publish(package(1), FolderTarget(tmp_path / "published/parrot"), version="1")


def test_a_folder_is_told_what_it_would_get_and_takes_it_once(
    package: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", token := "hf_" + "PlantedToken" * 3)
    target = target_of(PARAMS)
    version = next_version(package(1), target)
    assert (
        would_send(package(1), target, version)[0] == "published/parrot-demo: version 1, in place of nothing"
    )
    assert not Path("published").exists()
    first, again = (publish(package(1), target, version=version) for _ in range(2))
    assert first.placed and first.placed.revision == "published/parrot-demo/1"
    assert again.placed is None
    assert token not in str(in_folder(Path("published")))
    with pytest.raises(ParrotError, match=r"nowhere: holds no README\.md"):
        publish(Path("nowhere"), target, version="2")
