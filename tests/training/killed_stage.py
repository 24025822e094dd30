"""A small `parrot sft` that is killed again and again: the stage itself, its store of MLflow, and aims.

Its processes are forked from one that has imported everything, so that an attempt takes about a second.
"""

import multiprocessing
import os
import random
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from rank_cases import DEEPSPEED, MOE, Records

from parrot.config import Lora, ParrotArchitecture, Sft, Training
from parrot.stage import run_stage
from parrot.training import assembly
from parrot.training.resume import COMPLETE

STEPS, SAVE, LOG = 23, 3, 2
"""Neither saves nor logged steps fall on the last step, nor always on one another."""
IMAGES = [0, 1, 2, 1, 0, 1] * 2
LORA = Lora(rank=2, alpha=2, dropout=0.2, target_modules=["q_proj", "v_proj"])
"""Its dropout draws from each rank's random state."""

Aim = Callable[[Path], bool]
"""Whether the stage that works in this folder is now to be killed."""


def after(seconds: float) -> Aim:
    """So long after it was asked first."""
    begun: list[float] = []

    def now(folder: Path) -> bool:
        begun.append(time.monotonic())
        return begun[-1] - begun[0] > seconds

    return now


def writing(files: int) -> Aim:
    """A checkpoint newer than all that are whole has so many files."""

    def now(folder: Path) -> bool:
        found = _checkpoints(folder)
        newest = max(found, default=0)
        if newest <= max((step for step, path in found.items() if (path / COMPLETE).exists()), default=0):
            return False
        return sum(len(folders) + len(names) for _, folders, names in os.walk(found[newest])) >= files

    return now


def ended(folder: Path) -> bool:
    """The last step is in a checkpoint, and the outputs are not in their places."""
    last = _checkpoints(folder).get(STEPS)
    return last is not None and (last / COMPLETE).exists()


def placing(folder: Path) -> bool:
    """Files of the output are there under its temporary name."""
    return any(folder.glob(".output.partial-*/*"))


def placed(folder: Path) -> bool:
    """The output is in its place; what is measured is perhaps not, and MLflow does not have all."""
    return (folder / "output").exists()


AT_THE_END = (ended, placing, placed)


def _checkpoints(folder: Path) -> dict[int, Path]:
    """Step -> checkpoint. `os.walk` takes it if folders go while it looks, which `glob` does not."""
    found = {}
    for parent, names, _ in os.walk(folder / ".parrot/checkpoints"):
        names[:] = [name for name in names if not name.startswith(".")]  # those are being removed
        found |= {int(name[11:]): Path(parent, name) for name in names if name.startswith("checkpoint-")}
    return found


def checkpoints(folder: Path) -> list[int]:
    """The steps of all checkpoints, whole or not."""
    return list(_checkpoints(folder))


class KilledStage:
    """A folder in which the stage runs, on one process or on ranks under ZeRO-3.

    Args:
        backbones: a folder with `vision`, `language` and `aligned`.
        store: an empty store of MLflow.
    """

    def __init__(self, folder: Path, backbones: Path, store: Path, ranks: int) -> None:
        self.folder, self._backbones, self._store, self._ranks = folder, backbones, store, ranks
        if not folder.exists():
            (folder / "records").mkdir(parents=True)
            shutil.copy(store, folder)
        self.attempts = 0

    def on(self, ranks: int) -> "KilledStage":
        """The stage in the same folder on so many ranks, to be tried once."""
        self.attempts += 1
        return KilledStage(self.folder, self._backbones, self._store, ranks)

    def run(self, aim: Aim | None = None, draw: random.Random | None = None) -> bool:
        """Start the stage, and kill it as `aim` says; on ranks one at random first, all of them soon after.

        Returns:
            Whether it was killed before it had ended.
        """
        self.attempts += 1
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            port = server.getsockname()[1]
        context = multiprocessing.get_context("forkserver")
        processes = [
            context.Process(target=run_rank, args=(self.folder, self._backbones, rank, self._ranks, port))
            for rank in range(self._ranks)
        ]
        for process in processes:
            process.start()
        deadline = time.monotonic() + 300
        killed = False
        while not killed and all(process.is_alive() for process in processes):
            if aim and aim(self.folder):
                killed = True
                (draw or random.Random(0)).shuffle(processes)
                for process in processes:
                    process.kill()
                    time.sleep(draw.choice([0, 0.2]) if draw else 0)
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.001)
        for process in processes:
            process.join(60)
        codes = {process.exitcode for process in processes}
        lost = {1} if killed and self._ranks > 1 else set()  # of one that lost its connection to the first
        assert codes <= {0, -signal.SIGKILL if killed else 0, *lost}, self.said()
        return -signal.SIGKILL in codes

    def said(self) -> str:
        """On standard error, by rank 0, in all attempts."""
        return (self.folder / "said-0").read_text(encoding="utf-8")

    def records_read(self) -> int:
        """By all ranks, in all attempts, so that it grows while a model is trained and only then."""
        return sum(path.stat().st_size for path in self.folder.glob("read-*"))

    def results(self) -> dict[str, bytes]:
        """The weights, the loss curve and what was measured, byte for byte."""
        files = [*self.folder.glob("output/**/*.safetensors"), self.folder / "curve.csv"]
        assert len(files) > 1
        files.append(self.folder / "metrics.json")
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def curves(self) -> list[tuple[str, list[tuple[int, float]]]]:
        """Of each run in MLflow its status, and its losses by step."""
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as database:
            runs = database.execute("select run_uuid, status from runs order by start_time").fetchall()
            query = (
                "select step, value from metrics where run_uuid = ? and key = 'smoothed_loss' order by step"
            )
            return [(status, database.execute(query, [run]).fetchall()) for run, status in runs]


def run_rank(folder: Path, backbones: Path, rank: int, ranks: int, port: int) -> None:
    """The program that is killed: what `parrot sft` runs, as one of `ranks`."""
    os.chdir(folder)
    log = os.open(f"said-{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    for name in ("MLFLOW_TRACKING_URI", "DVC_STAGE"):
        os.environ.pop(name, None)
    if ranks > 1:
        os.environ |= {
            "RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
    assembly.RecordDataset = lambda records, mixture: _Read(IMAGES)  # type: ignore[assignment,misc]
    inputs = {name: backbones / name for name in ("vision", "language", "aligned")}
    inputs |= {name: Path("records") for name in ("records", "mixture")}
    outputs = {"output": "output", "curve": "curve.csv", "metrics": "metrics.json"}
    flags = [part for name, path in (inputs | outputs).items() for part in (f"--{name}", str(path))]
    run_stage("sft", "parrot.training.sft:sft", flags, load=lambda: parameters(ranks))


def parameters(ranks: int) -> Any:
    """The sections that the stage asks for."""
    choices: dict[str, Any] = {
        "max_steps": STEPS, "save_steps": SAVE, "logging_steps": LOG, "batch_size": 4 // ranks,
        "warmup_steps": 0.1, "weight_decay": 0.01,
    }  # fmt: skip
    if ranks > 1:
        choices |= {"deepspeed": str(DEEPSPEED / "zero3.json"), "launch": {"processes": ranks}}
    return SimpleNamespace(
        sft=Sft(
            learning_rate=1e-3, language_model_learning_rate=1e-3, lora=LORA, moe=MOE,
            training=Training(**choices),
        ),
        model=ParrotArchitecture(
            architecture="parrot", projector="mlp2x_gelu", vision_feature_layer=-1, max_length=256
        ),
        seed=1, threads=1, speed=SimpleNamespace(workers=0),
    )  # fmt: skip


class _Read(Records):
    """Notes that a record was read."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        with Path(f"read-{os.environ.get('RANK', '0')}").open("a") as file:
            file.write(".")
        return super().__getitem__(index)
