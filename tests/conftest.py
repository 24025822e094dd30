"""A DVC project or an MLflow store of its own for each test that asks for one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from parrot.tracking import PARENT_VARIABLE, SENDER_VARIABLE, ensure_store


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
    shutil.copy(empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    credentials = (f"MLFLOW_TRACKING_{name}" for name in ("USERNAME", "PASSWORD", "TOKEN"))
    for name in (
        "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_STAGE", PARENT_VARIABLE, SENDER_VARIABLE,
        *credentials,
    ):  # fmt: skip
        monkeypatch.setenv(name, "")  # so that it is removed again if a test sets it
        monkeypatch.delenv(name)
    return tmp_path


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
