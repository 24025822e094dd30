"""Ranks that were killed, or whose launcher was, go on as if nothing had been: the same curve and weights."""

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from workshop import Workshop

from parrot.training.resume import COMPLETE

STEPS: dict[str, Any] = {
    "batch_size": 2, "launch": {"processes": 2}, "max_steps": 40, "save_steps": 1, "logging_steps": 1,
}  # fmt: skip
IMAGES = [0, 1, 2, 1, 0, 1] * 2


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
def test_resume_of_ranks_of_which_one_or_what_started_them_is_killed(workshop: Workshop) -> None:
    draw = random.Random(1)
    whole, killed = (
        workshop.case(
            name, "sft", "parrot", moe=True, lora=True, images=IMAGES, deepspeed="zero3", training=STEPS
        )
        for name in ("whole", "killed")
    )
    assert workshop.on_ranks([whole]).returncode == 0
    first = workshop.on_ranks([{**killed, "dies_at": 5}])
    assert first.returncode == 1
    assert "rank 0: it was killed by SIGKILL; the other ranks are ended" in first.stderr
    checkpoints = Path(killed["folder"]) / "checkpoints"
    for _ in range(5):
        before = _newest(checkpoints)
        process = workshop.start([killed])
        while _newest(checkpoints) == before and process.poll() is None:
            time.sleep(0.1)
        time.sleep(draw.uniform(0, 4))  # writing checkpoints takes most of the time
        _kill_one(process, draw)
        process.communicate(timeout=90)
    assert workshop.on_ranks([killed]).returncode == 0
    curves = [(workshop.folder / name / "curve.csv").read_text() for name in ("killed", "whole")]
    assert curves[0] == curves[1]
    weights, expected = workshop.weights("killed"), workshop.weights("whole")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)


def _newest(checkpoints: Path) -> int:
    complete = checkpoints.glob(f"*/{COMPLETE}")
    return max((int(file.parent.name.partition("-")[2]) for file in complete), default=0)


def _kill_one(process: subprocess.Popen[str], draw: random.Random) -> None:
    try:
        launcher = psutil.Process(process.pid)
        draw.choice([launcher, *launcher.children()]).send_signal(signal.SIGKILL)
    except psutil.Error:
        pass  # it has ended
