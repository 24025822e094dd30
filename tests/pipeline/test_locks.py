"""Locks of DVC that others hold, that were left behind, and that are damaged."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flows.console import console
from flows.reproduce import Outcome, StageFailed, reproduce
from parrot.errors import ParrotError
from parrot.pipeline.graph import GraphStage, read_graph
from parrot.pipeline.locks import LOCK, RWLOCK

SLOW = (
    "slow: {cmd: 'touch begun; while [ ! -e go ]; do sleep 0.1; done; cp source slow', "
    "deps: [source], outs: [slow]}",
    "next: {cmd: cp slow next, deps: [slow], outs: [next]}",
)
FAST = ("one: {cmd: cp source one, deps: [source], outs: [one]}",)


def nobody(_text: str) -> None:
    pass


def run(stage: str) -> Outcome:
    return reproduce(GraphStage(stage, frozenset(), 1.0), nobody, nobody)


def wait_until_said(said: list[str], words: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not any(words in text for text in said):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)


@pytest.mark.parametrize("text", ["", '{"write": {"/a', '{"write": []}'])
def test_a_damaged_lock_is_named_with_what_to_do(project, text: str) -> None:
    folder: Path = project(*FAST)
    (folder / RWLOCK).write_text(text)
    told = r"\.dvc/tmp/rwlock is damaged.*remove that file and start again"
    with pytest.raises(ParrotError, match=told):
        read_graph()
    with pytest.raises(StageFailed, match=told):
        run("one")
    (folder / RWLOCK).unlink()
    assert list(read_graph()) == ["one"]


def test_what_a_dead_process_has_left_is_in_nobodys_way(project) -> None:
    folder: Path = project(*FAST)
    dead = subprocess.Popen(["true"])
    dead.wait()
    user = {"pid": dead.pid, "cmd": "dvc repro"}
    (folder / RWLOCK).write_text(json.dumps({"write": {str(folder / "one"): user}, "read": {}}))
    (folder / LOCK).write_text(f" {dead.pid}\n")
    assert list(read_graph()) == ["one"]
    assert run("one").state == "done"


@pytest.mark.parametrize("zombie", [False, True], ids=["its number given away", "not waited for"])
def test_a_killed_process_that_dvc_takes_for_a_living_one_is_named(project, zombie: bool) -> None:
    folder: Path = project(*FAST)
    other = subprocess.Popen(["true"] if zombie else ["sleep", "60"])
    try:
        user = {"pid": other.pid, "cmd": "/usr/bin/dvc repro one"}
        (folder / RWLOCK).write_text(json.dumps({"write": {str(folder / "one"): user}, "read": {}}))
        told = rf"names process {other.pid} \(/usr/bin/dvc repro one\), which was killed.*remove that file"
        with pytest.raises(ParrotError, match=told):
            read_graph()
        with pytest.raises(StageFailed, match=told):
            run("one")
    finally:
        other.kill()
        other.wait()


def test_whoever_holds_the_lock_is_named_and_waited_for(project) -> None:
    folder: Path = project(*FAST)
    script = "import zc.lockfile; lock = zc.lockfile.LockFile('.dvc/tmp/lock'); print(flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin and holder.stdout and holder.stdout.readline()
    said: list[str] = []
    stages: list[str] = []
    reader = threading.Thread(target=lambda: stages.extend(read_graph(say=said.append)), daemon=True)
    reader.start()
    wait_until_said(said, f"holds .dvc/tmp/lock (process {holder.pid}, `{sys.executable} -c")
    holder.communicate(b"\n")
    reader.join(timeout=30)
    assert stages == ["one"]
    assert len(said) == 1, "a person is told once"
    (folder / LOCK).write_text("")
    assert list(read_graph()) == ["one"]


def test_a_stage_that_another_dvc_runs_is_waited_for(project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = project(*SLOW)
    other = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "-q", "slow"], env=os.environ | {"DVC_NO_ANALYTICS": "1"}
    )
    deadline = time.monotonic() + 60
    while not (folder / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    said: list[str] = []
    outcomes: list[str] = []

    monkeypatch.setattr(console, "line", lambda text, _stage="": said.append(text))

    def begin() -> None:
        outcomes.append(run("slow").state)

    def follow() -> None:
        read_graph(say=said.append)
        begin()

    threads = [threading.Thread(target=target, daemon=True) for target in (follow, begin)]
    for thread in threads:
        thread.start()
        wait_until_said(said, f"uses the same files (process {other.pid}, ")
        said.clear()
    (folder / "go").touch()
    assert other.wait(timeout=60) == 0
    for thread in threads:
        thread.join(timeout=60)
    assert outcomes == ["cached", "cached"], "neither has run it again"
