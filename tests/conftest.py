"""An MLflow store of its own for each test that asks for one."""

import shutil
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
