"""Better, worse and back again: DVC's lock, MLflow's registry and a folder as the target, all real."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.utils.file_utils import local_file_uri_to_path
from released_project import NAME, make_project, shown, train

from parrot.cli import main
from parrot.pipeline.locks import RWLOCK
from parrot.publishing.ledger import read_ledger
from parrot.tracking import registry


@pytest.fixture
def checkout(tracked_folder: Path) -> None:
    make_project()


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*words])
    assert isinstance(stop.value.code, int), stop.value.code
    return stop.value.code


@pytest.mark.slow
@pytest.mark.usefixtures("checkout")
def test_the_walk() -> None:
    train("a", share=0.70, seed=1)
    assert run("publish") == run("publish") == 0
    assert shown() == "1"
    train("b", share=0.80, seed=2)
    assert run("gate", "--dry-run") == run("gate") == run("publish") == 0
    assert shown() == "2"
    assert "| overall | 900 | " in Path("published", NAME, "2", "README.md").read_text()
    train("c", share=0.65, seed=3)
    assert run("publish") == 4
    assert shown() == "2"
    main(["rollback"])
    assert shown() == "1"
    train("b", share=0.80, seed=2)
    assert run("publish") == 3  # it was taken back
    main(["rollback", "2"])
    assert shown() == "2"
    ledger = read_ledger(Path("published/ledger.jsonl"))
    assert [(entry["event"], entry["version"], entry.get("decision")) for entry in ledger] == [
        ("verdict", "1", "PROMOTE"),
        ("publication", "1", None),
        ("verdict", "2", "PROMOTE"),
        ("publication", "2", None),
        ("verdict", "3", "REJECT"),
        ("rollback", "1", None),
        ("verdict", "2", "HOLD"),
        ("rollback", "2", None),
    ]


def delete_version() -> None:
    with registry.registry_client() as client:
        client.delete_model_version(NAME, "2")


def delete_alias() -> None:
    with registry.registry_client() as client:
        client.delete_registered_model_alias(NAME, registry.CHAMPION)


def delete_run() -> None:
    """In which its evaluation is, with its files: what only lies in MLflow's trash is still read."""
    with registry.registry_client() as client:
        run = client.get_run(client.get_model_version(NAME, "2").tags["evaluate.run"])
        client.delete_run(run.info.run_id)
        shutil.rmtree(local_file_uri_to_path(run.info.artifact_uri))


@pytest.mark.slow
@pytest.mark.parametrize("delete", [delete_version, delete_alias, delete_run])
@pytest.mark.usefixtures("checkout")
def test_a_champion_that_somebody_deletes_holds_what_is_new_and_the_way_back_is_open(
    delete: Callable[[], None],
) -> None:
    for weights, share in (("a", 0.70), ("b", 0.80)):
        train(weights, share, seed=ord(weights))
        assert run("publish") == 0
    delete()
    train("c", share=0.95, seed=3)
    assert run("publish") == 3
    assert Path("published", NAME, "current").readlink().name == "2", "nothing took its place"
    main(["rollback"])
    assert shown() == "1"
    assert run("publish") == 0, "better than the version that was gone back to"


def drop_damaged_lock() -> None:
    """As `parrot publish` tells people to: DVC writes this file in place, and may be killed while it does."""
    if RWLOCK.exists():
        try:
            json.loads(RWLOCK.read_text())
        except json.JSONDecodeError:
            RWLOCK.unlink()


@pytest.mark.slow
@pytest.mark.usefixtures("checkout")
def test_releases_that_are_killed_lose_and_double_nothing() -> None:
    train("a", share=0.70, seed=1)
    assert run("publish") == 0
    train("b", share=0.80, seed=2)
    command = [sys.executable, "-c", "from parrot.cli import main; main()", "publish"]
    for seconds in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)
        process.kill()
        process.wait()
        drop_damaged_lock()
    assert run("publish") == 0
    assert shown() == "2"
    assert [one.version for one in registry.versions(NAME)] == ["1", "2"]
    ledger = read_ledger(Path("published/ledger.jsonl"))
    told = [(entry["event"], entry["version"]) for entry in ledger if entry["event"] != "repair"]
    assert told == [("verdict", "1"), ("publication", "1"), ("verdict", "2"), ("publication", "2")]
