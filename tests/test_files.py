"""Outputs appear whole or not at all."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import save_file

from parrot.errors import ParrotError
from parrot.files import atomic_directory, atomic_file, naming_full_disk, write_json


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


@pytest.mark.parametrize(("umask", "folder_mode", "file_mode"), [(0o022, 0o755, 0o644), (0o007, 0o770, 0o660),
                                                               (0o077, 0o700, 0o600)])  # fmt: skip
def test_the_umask_says_who_may_read(tmp_path: Path, umask: int, folder_mode: int, file_mode: int) -> None:
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", 1)
        with atomic_directory(tmp_path / "b") as partial:
            (partial / "inner").mkdir(mode=0o700)
            save_file({"x": torch.zeros(3)}, partial / "inner/model.safetensors")
            (partial / "inner/model.safetensors").chmod(0o600)
    finally:
        os.umask(before)

    def mode(path: str) -> int:
        return stat.S_IMODE((tmp_path / path).stat().st_mode)

    assert mode("b") == mode("b/inner") == folder_mode
    assert mode("a.json") == mode("b/inner/model.safetensors") == file_mode


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system takes root on Linux")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def write_bytes(path: Path) -> None:
    path.write_bytes(bytes(2 << 20))


def write_tensors(path: Path) -> None:
    save_file({"x": torch.zeros(1 << 19)}, path)


def write_pickle(path: Path) -> None:
    torch.save({"x": torch.zeros(1 << 19)}, path)


def write_table(path: Path) -> None:
    parquet.write_table(pyarrow.table({"x": [os.urandom(2 << 20)]}), path)


@pytest.mark.parametrize("write", [write_bytes, write_tensors, write_pickle, write_table])
def test_a_full_disk_is_named(small_disk: Path, write: Callable[[Path], None]) -> None:
    target = small_disk / "model"
    sentence = r"no space left while writing .* \([01] MiB free on the disk of "
    with pytest.raises(ParrotError, match=sentence), atomic_directory(target) as partial:
        write(partial / "weights")
    with pytest.raises(ParrotError, match="no space left while writing"), atomic_file(target) as partial:
        write(partial)
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_behind_another_error_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match="no space left while writing"), naming_full_disk(tmp_path):
        try:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        except OSError as error:
            raise RuntimeError("could not write") from error


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output"), naming_full_disk(tmp_path):
        raise OSError(errno.EIO, "Input/output error")
