"""Toy DVC projects, and one Prefect server and one MLflow store for all tests."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import flows  # noqa: F401  sets the environment before prefect is imported

Project = Callable[..., Path]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    from parrot.tracking import ensure_store

    with pytest.MonkeyPatch.context() as patch:
        store = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
        ensure_store()
        with prefect_test_harness(server_startup_timeout=400):
            yield


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
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
