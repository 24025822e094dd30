"""Outputs appear whole or not at all."""

from pathlib import Path

import pytest

from parrot.files import atomic_directory, atomic_file, write_json


def test_a_failed_block_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "metrics.json"
    write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), atomic_file(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text() == '{\n  "a": 1\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_a_failed_block_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_directory(target) as partial:
        (partial / "weights").write_text("old")
    with pytest.raises(RuntimeError), atomic_directory(target) as partial:
        (partial / "weights").write_text("half")
        raise RuntimeError
    assert (target / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".model.partial-abc").mkdir()
    (tmp_path / ".model.partial-abc/weights").write_text("half")
    with atomic_directory(tmp_path / "model") as partial:
        (partial / "weights").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_files_are_readable_by_others(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with atomic_directory(tmp_path / "b"):
        pass
    assert (tmp_path / "a.json").stat().st_mode & 0o044 == 0o044
    assert (tmp_path / "b").stat().st_mode & 0o055 == 0o055
