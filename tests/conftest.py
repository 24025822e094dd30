"""A DVC project or an MLflow store of its own for each test that asks for one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parrot.tracking import PARENT_VARIABLE, SENDER_VARIABLE, ensure_store

# pytest-xdist has a process on each core. Threads of torch beside them wait for one another, spinning: beside
# other work that costs a test many times its time. Set before torch is loaded, and for what tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: creating the tables takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        ensure_store()
    return folder / "mlflow.db"


@pytest.fixture
def tracked_folder(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with nothing but an empty store."""
    _work_in(tmp_path, empty_store, monkeypatch)
    return tmp_path


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Path]:
    """The current folder of a module's tests: an empty store, and stages that find the project's code."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        _work_in(folder, empty_store, patch)
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        yield folder


def _work_in(folder: Path, empty_store: Path, patch: pytest.MonkeyPatch) -> None:
    shutil.copy(empty_store, folder)
    patch.chdir(folder)
    credentials = (f"MLFLOW_TRACKING_{name}" for name in ("USERNAME", "PASSWORD", "TOKEN"))
    for name in (
        "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_STAGE", PARENT_VARIABLE, SENDER_VARIABLE,
        *credentials,
    ):  # fmt: skip
        patch.setenv(name, "")  # so that it is removed again if a test sets it
        patch.delenv(name)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a DVC project of these stages (lines of dvc.yaml) and enters it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)

    def make(*stages: str) -> Path:
        lines = "".join(f"  {stage}\n" for stage in stages)
        (tmp_path / "dvc.yaml").write_text(f"stages:\n{lines}")
        (tmp_path / "source").write_text("1")
        command = [sys.executable, "-m", "dvc", "init", "-q", "--no-scm"]
        subprocess.run(command, check=True, env=os.environ | {"DVC_NO_ANALYTICS": "1"})
        return tmp_path

    return make
