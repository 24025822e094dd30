"""Cancel while the package is released: one whole model is shown all the time, and the next run finishes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelling
from process_end import ended
from released_project import NAME, make_project, shown, train
from team import wait_for

from flows.pipeline import main
from parrot.pipeline.processes import identity
from parrot.publishing.ledger import read_ledger
from parrot.tracking import registry

PROGRAM = """
import pkgutil, sys, time
from pathlib import Path
from flows.pipeline import main

def stand_still(*_, **__):
    Path("there").touch()
    time.sleep(600)

setattr(pkgutil.resolve_name(sys.argv[1]), sys.argv[2], stand_still)
sys.exit(main([]))
"""
PLACES = {
    "it is judged": ("parrot.publishing.release", "gate"),
    "it is sent": ("parrot.publishing.publish", "publish"),
    "it is there and not shown": ("parrot.publishing.folder_target:FolderTarget", "_show"),
    "it is shown and not noted": ("parrot.publishing.release", "_revision"),
    "it is noted and no champion": ("parrot.tracking.registry", "promote"),
    "it is released and nobody told": ("flows.release_task", "create_markdown_artifact"),
}
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("servers", "shared_folder")]


@pytest.fixture(scope="module")
def released(servers: None, shared_folder: Path) -> None:
    """A project whose first version is published."""
    make_project()
    train("a", share=0.2, seed=0)
    assert main([]) == 0
    assert shown() == "1"


def run_of(process: subprocess.Popen[Any]) -> UUID:
    own = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"process:{identity(psutil.Process(process.pid))}"]))
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(flow_run_filter=own)
        return run.id


@pytest.mark.parametrize("moment", PLACES)
@pytest.mark.usefixtures("released")
def test_a_cancelled_release_publishes_nothing_by_halves_and_the_next_run_finishes_it(moment: str) -> None:
    number = 1 + len(registry.versions(NAME))
    weights = "abcdefgh"[number - 1]
    train(weights, share=0.1 + number / 10, seed=number)
    Path("there").unlink(missing_ok=True)
    environment = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    environment.pop("PARROT_FLOW", None)
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *PLACES[moment]], env=environment)
    wait_for(Path("there").exists, 300, "the release does not come there")
    run, below = run_of(process), psutil.Process(process.pid).children(recursive=True)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, Cancelling())
        assert process.wait(120) == 130
        assert client.read_flow_run(run).state.name == "Cancelled"
    assert ended(below)

    current = Path("published", NAME, "current")
    seen = (current / "model.safetensors").read_text()
    assert seen in (weights, "abcdefgh"[number - 2])
    assert f"version: '{current.readlink().name}'" in (current / "README.md").read_text()

    assert main([]) == 0
    assert shown() == str(number)
    assert (current / "model.safetensors").read_text() == weights
    assert [one.version for one in registry.versions(NAME)] == [str(one + 1) for one in range(number)]
    told = [
        (entry["event"], entry.get("decision"))
        for entry in read_ledger(Path("published/ledger.jsonl"))
        if entry["version"] == str(number)
    ]
    assert told == [("verdict", "PROMOTE"), ("publication", None)] * (2 if "nobody told" in moment else 1)
