"""Real processes: what is killed takes its own with it, and a lock dies with its holder."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from process_end import ended, number_ended

import parrot.pipeline.processes
from parrot.errors import ParrotError
from parrot.pipeline.processes import dvc_process, find_process, identity, pipeline_lock

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("PARROT_", "DVC_"))
} | {"PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}


def start(*command: str, cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *command], cwd=cwd, env=ENVIRONMENT, stderr=subprocess.DEVNULL)


def wait_for(path: Path, seconds: float = 60) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written within {seconds} s")


SLEEPER = """
    import os, subprocess, sys, time
    from pathlib import Path

    Path("begun").write_text(f"{os.getpid()}\\n")
    while not Path("go").exists():
        time.sleep(0.01)
    from parrot.pipeline.processes import end_with_parents

    end_with_parents()
    child = subprocess.Popen(["sleep", "60"])
    Path("pids").write_text(f"{os.getpid()} {child.pid}\\n")
    try:
        time.sleep(60)
    finally:
        Path("cleaned").touch()
"""
SUBREAPER = """
    import ctypes, subprocess, sys, time

    PR_SET_CHILD_SUBREAPER = 36
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1):
        sys.exit("not Linux")
    subprocess.run(sys.argv[1:])
    time.sleep(60)
"""


@pytest.fixture
def sleeping_stage(tmp_path: Path) -> Path:
    """A DVC project whose only stage sleeps, once there is a file `go`."""
    (tmp_path / "sleeper.py").write_text(textwrap.dedent(SLEEPER))
    (tmp_path / "subreaper.py").write_text(textwrap.dedent(SUBREAPER))
    command = f"{sys.executable} sleeper.py"
    (tmp_path / "dvc.yaml").write_text(f"stages: {{sleep: {{cmd: {command}, outs: [cleaned]}}}}\n")
    assert start("-m", "dvc", "init", "-q", "--no-scm", cwd=tmp_path).wait() == 0
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_and_its_children_end_with_dvc(sleeping_stage: Path, number: int) -> None:
    (sleeping_stage / "go").touch()
    dvc = start("-m", "dvc", "repro", "-q", cwd=sleeping_stage)
    pids = [int(pid) for pid in wait_for(sleeping_stage / "pids").split()]
    dvc.send_signal(number)
    dvc.wait(timeout=30)
    assert all(number_ended(pid) for pid in pids)
    assert (sleeping_stage / "cleaned").exists(), "the stage had no chance to clean up"


ABOVE = {
    "nothing": [],
    "a shell that lives on": ["sh", "-c", '"$@"; sleep 60', "sh"],
    "a subreaper": [sys.executable, "subreaper.py"],
}


@pytest.mark.parametrize("above", ABOVE)
def test_a_stage_ends_if_dvc_is_killed_before_the_stage_can_look(sleeping_stage: Path, above: str) -> None:
    if above == "a subreaper" and sys.platform != "linux":
        pytest.skip("only Linux has subreapers")
    command = [*ABOVE[above], sys.executable, "-m", "dvc", "repro", "-q"]
    top = subprocess.Popen(command, cwd=sleeping_stage, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        stage = psutil.Process(int(wait_for(sleeping_stage / "begun")))
        shell_or_dvc = stage.parents()
        dvc = next(process for process in shell_or_dvc if "dvc" in process.cmdline())
        dvc.kill()
        assert ended([dvc])
        (sleeping_stage / "go").touch()
        assert ended([stage])
        assert not (sleeping_stage / "pids").exists(), "the stage went to work without DVC"
    finally:
        top.kill()
        top.wait()


@pytest.mark.parametrize("sleep", ["sleep 60", "env -i sleep 60"], ids=["", "its environment unreadable"])
def test_descendants_of_a_guarded_process_end_with_it(tmp_path: Path, sleep: str) -> None:
    script = f"""
        import os, subprocess, time
        from pathlib import Path
        from parrot.pipeline.processes import guard_descendants

        guard_descendants()
        child = subprocess.Popen(["sh", "-c", "{sleep} & wait"], start_new_session=True)
        Path("pids").write_text(f"{{child.pid}}\\n")
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
    assert number_ended(pid) and ended(below)


def test_a_stage_run_by_hand_has_no_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert dvc_process() is None


def test_identity_finds_the_same_process_and_no_later_one_with_its_pid() -> None:
    assert find_process(identity()) == psutil.Process()
    assert identity(psutil.Process()) == identity()
    assert find_process(f"{os.getpid()}-1000.00") is None
    assert find_process("nonsense") is None
    child = subprocess.Popen(["true"])
    name = identity(psutil.Process(child.pid))
    child.wait()
    assert find_process(name) is None


@pytest.mark.parametrize("seconds", [-3600, -2, 2, 86400])
def test_identities_outlast_a_step_of_the_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """What moves with the clock is the time of boot, to which psutil adds the ticks since then."""
    before, started = identity(), psutil.Process().create_time()
    boot_time = psutil._psplatform.boot_time
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: boot_time() + seconds)
    if sys.platform == "linux":
        assert psutil.Process().create_time() == pytest.approx(started + seconds, abs=1), "no step was made"
    assert identity() == before
    assert find_process(before) == psutil.Process()


def test_without_proc_identities_are_told_by_ps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(parrot.pipeline.processes, "_PROC", tmp_path / "none")
    name = identity()
    assert name.startswith(f"{os.getpid()}-") and " " not in name
    assert find_process(name) == psutil.Process()
    assert find_process("4194303-Mon.Jan.1.00:00:00.2024") is None


def test_a_damaged_lock_of_dvc_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "align")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(parrot.pipeline.processes, "REWRITE_SECONDS", 0.1)
    lock = tmp_path / ".dvc/tmp/rwlock"
    lock.parent.mkdir(parents=True)
    user = {"pid": os.getppid(), "cmd": "dvc repro"}
    for text in ("", '{"write": {', "[]", '{"write": []}', '{"read": {"a": [1]}}'):
        lock.write_text(text)
        assert dvc_process() is None
    for held in ({"write": {"/a": user}}, {"read": {"/a": [user]}}):
        lock.write_text(json.dumps(held))
        assert dvc_process() == psutil.Process(os.getppid())


def test_the_second_pipeline_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    script = """
        import time
        from pathlib import Path
        from parrot.pipeline.processes import pipeline_lock

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
