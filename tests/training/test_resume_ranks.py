"""Two ranks under ZeRO-3 that were killed go on as if they had not been: the same curve, the same weights."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from rank_cases import Workshop

from parrot.training.resume import COMPLETE

STEPS: dict[str, Any] = {
    "batch_size": 2, "launch": {"processes": 2}, "max_steps": 7, "save_steps": 2, "logging_steps": 1,
}  # fmt: skip
"""Of three steps an epoch, so that a resumed run begins in the middle of the second one."""
IMAGES = [0, 1, 2, 1, 0, 1] * 2


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("ranks"))


def _case(workshop: Workshop, name: str, **choices: Any) -> dict[str, Any]:
    return workshop.case(
        name,
        "sft",
        "parrot",
        moe=True,
        lora=True,
        images=IMAGES,
        deepspeed="zero3",
        training=STEPS,
        **choices,
    )


def _identical(workshop: Workshop, name: str, whole: str) -> None:
    curves = [(workshop.folder / one / "curve.csv").read_text() for one in (name, whole)]
    assert curves[0] == curves[1]
    weights, expected = workshop.weights(name), workshop.weights(whole)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)


def test_resume_of_ranks_passes_a_broken_checkpoint_over_and_repeats_the_rest(workshop: Workshop) -> None:
    whole, killed = _case(workshop, "whole"), _case(workshop, "killed", dies_at=5)
    first = workshop.on_ranks([whole, killed])
    assert first.returncode == 1
    assert "rank 0: it was killed by SIGKILL; the other ranks are ended" in first.stderr
    checkpoints = workshop.folder / "killed/checkpoints"
    assert {file.parent.name for file in checkpoints.glob(f"*/{COMPLETE}")} == {
        "checkpoint-2",
        "checkpoint-4",
    }
    assert (checkpoints / "checkpoint-4/latest").exists()  # DeepSpeed would take it
    part = max(checkpoints.glob("checkpoint-4/global_step4/*optim_states.pt"))
    part.write_bytes(part.read_bytes()[:100])
    shutil.move(workshop.folder / "whole/output", workshop.folder / "whole/first")
    del killed["dies_at"]
    # The first run is started again, too: it had trained to its end, and its checkpoint still is there.
    second = workshop.on_ranks([killed, whole])
    assert second.returncode == 0, second.stderr[-3000:]
    assert "checkpoint-4: global_step4/" in second.stderr and "not what was written" in second.stderr
    _identical(workshop, "killed", "whole")
    again = workshop.weights("whole")
    shutil.rmtree(workshop.folder / "whole/output")
    shutil.move(workshop.folder / "whole/first", workshop.folder / "whole/output")
    before = workshop.weights("whole")
    assert all(torch.equal(again[key], before[key]) for key in before)


@pytest.mark.slow
def test_resume_of_ranks_killed_at_twenty_random_points(workshop: Workshop) -> None:
    draw = random.Random(1)
    steps = {**STEPS, "max_steps": 60, "save_steps": 1}
    whole, killed = ({**_case(workshop, name), "training": steps} for name in ("long", "shot"))
    assert workshop.on_ranks([whole], timeout=900).returncode == 0
    checkpoints = Path(killed["folder"]) / "checkpoints"
    for _ in range(20):
        before = _newest(checkpoints)
        process = workshop.start([killed])
        while _newest(checkpoints) == before and process.poll() is None:
            time.sleep(0.1)
        time.sleep(draw.uniform(0, 4))  # writing checkpoints takes most of the time
        _kill_one(process, draw)
        process.communicate(timeout=90)
    assert workshop.on_ranks([killed], timeout=900).returncode == 0
    _identical(workshop, "shot", "long")


def _newest(checkpoints: Path) -> int:
    complete = checkpoints.glob(f"*/{COMPLETE}")
    return max((int(file.parent.name.partition("-")[2]) for file in complete), default=0)


def _kill_one(process: subprocess.Popen[str], draw: random.Random) -> None:
    try:
        launcher = psutil.Process(process.pid)
        draw.choice([launcher, *launcher.children()]).send_signal(signal.SIGKILL)
    except psutil.Error:
        pass  # it has ended
