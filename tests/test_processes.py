"""Real processes: what is killed takes its own with it, and a lock dies with its holder."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from parrot.errors import ParrotError
from parrot.processes import dvc_process, find_process, identity, pipeline_lock

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("PARROT_", "DVC_"))
} | {"PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}


def start(*command: str, cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *command], cwd=cwd, env=ENVIRONMENT, stderr=subprocess.DEVNULL)


def wait_for(path: Path, seconds: float = 20) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written within {seconds} s")


def gone(pid: int, seconds: float = 3) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


SLEEPER = """
    import subprocess, sys, time
    from pathlib import Path
    from parrot.processes import end_with_parents
    import os

    end_with_parents()
    child = subprocess.Popen(["sleep", "60"])
    Path("pids").write_text(f"{os.getpid()} {child.pid}\\n")
    try:
        time.sleep(60)
    finally:
        Path("cleaned").touch()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_and_its_children_end_with_dvc(tmp_path: Path, number: int) -> None:
    (tmp_path / "sleeper.py").write_text(textwrap.dedent(SLEEPER))
    (tmp_path / "dvc.yaml").write_text(f"stages: {{sleep: {{cmd: {sys.executable} sleeper.py}}}}\n")
    assert start("-m", "dvc", "init", "-q", "--no-scm", cwd=tmp_path).wait() == 0
    dvc = start("-m", "dvc", "repro", "-q", cwd=tmp_path)
    pids = [int(pid) for pid in wait_for(tmp_path / "pids").split()]
    dvc.send_signal(number)
    dvc.wait(timeout=5)
    assert all(gone(pid) for pid in pids)
    assert (tmp_path / "cleaned").exists(), "the stage had no chance to clean up"


def test_descendants_of_a_guarded_process_end_with_it(tmp_path: Path) -> None:
    script = """
        import os, subprocess, time
        from pathlib import Path
        from parrot.processes import guard_descendants

        guard_descendants()
        child = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True)
        Path("pids").write_text(f"{child.pid}\\n")
        time.sleep(60)
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    process = start("script.py", cwd=tmp_path)
    pid = int(wait_for(tmp_path / "pids"))
    deadline = time.monotonic() + 5
    while not (below := psutil.Process(pid).children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert below
    process.kill()
    process.wait()
    assert gone(pid) and gone(below[0].pid)


def test_a_stage_run_by_hand_has_no_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert dvc_process() is None


def test_identity_finds_the_same_process_and_no_later_one_with_its_pid() -> None:
    assert find_process(identity()) == psutil.Process()
    assert find_process(f"{os.getpid()}-1000.00") is None
    assert find_process("nonsense") is None


def test_the_second_pipeline_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    script = """
        import time
        from pathlib import Path
        from parrot.processes import pipeline_lock

        with pipeline_lock("lock"):
            Path("held").write_text("yes\\n")
            time.sleep(60)
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    holder = start("script.py", cwd=tmp_path)
    wait_for(tmp_path / "held")
    told = rf"already running here \(process {holder.pid}, since 20"
    with pytest.raises(ParrotError, match=told), pipeline_lock(tmp_path / "lock"):
        pass
    holder.kill()
    holder.wait()
    with pipeline_lock(tmp_path / "lock"):
        pass
