"""A project with a valid `params.yaml` and an empty store, and what is in that store."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from parrot.tracking.store import connect

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tracked_folder: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tracked_folder)
    return tracked_folder


@pytest.fixture(scope="session")
def runs() -> Callable[[], dict[str, list]]:
    """All runs by name, those of a pipeline under "pipeline", the oldest first."""

    def find() -> dict[str, list]:
        client, experiment = connect()
        found: dict[str, list] = {}
        for run in client.search_runs([experiment], order_by=["attributes.start_time ASC"]):
            kind = run.data.tags.get("parrot.kind")
            found.setdefault("pipeline" if kind == "pipeline" else run.info.run_name, []).append(run)
        return found

    return find
