"""Processes that share the work of one: what they begin with, and how they end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from parrot.errors import ParrotError
from parrot.pipeline.pool import process_pool

WAITING = """
import os, time
from parrot.pipeline.pool import process_pool

if __name__ == "__main__":
    with process_pool(1, "speed.processes") as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def test_every_process_is_made_ready_first(tmp_path: Path) -> None:
    with process_pool(1, "speed.processes", os.chdir, tmp_path) as pool:
        assert pool.submit(os.getcwd).result() == str(tmp_path)


def test_a_process_that_ends_is_a_sentence() -> None:
    with (
        pytest.raises(ParrotError, match=r"speed\.processes: one of 1 processes has ended; .* take fewer"),
        process_pool(1, "speed.processes") as pool,
    ):
        pool.submit(os._exit, 1).result()


def test_a_killed_parent_takes_its_processes_along(tmp_path: Path) -> None:
    (tmp_path / "waiting.py").write_text(WAITING)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "waiting.py")], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    child.wait(timeout=60)
    assert not child.is_running()
