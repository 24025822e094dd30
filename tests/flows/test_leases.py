"""Who holds a GPU. What a dead worker and a server that is away do to it: test_workers, test_faults."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.logging import disable_run_logger
from team import wait_for

from flows import leases
from flows.leases import gpus_held

pytestmark = pytest.mark.usefixtures("servers")
NAME = f"gpu-{socket.gethostname()}-7"


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[UUID | None]]:
    """Every lease that is asked for in the test, with None for a GPU that another run holds."""
    found: list[UUID | None] = []
    take = leases._take

    def note(*given: object) -> UUID | None:
        found.append(take(*given))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(leases, "_take", note)
    monkeypatch.setattr(leases, "_RENEW_SECONDS", 0.1)
    monkeypatch.setattr(leases, "_LOOK_SECONDS", 0.1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with disable_run_logger():
        yield found


def in_use() -> int:
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(NAME).active_slots


def test_the_second_waits_until_the_first_gives_the_gpu_back(taken: list[UUID | None]) -> None:
    entered = threading.Event()

    def second() -> None:
        with disable_run_logger(), gpus_held():
            entered.set()

    waiting = threading.Thread(target=second)
    with gpus_held():
        waiting.start()
        wait_for(lambda: None in taken, 30, "nobody waits")
        assert in_use() == 1 and not entered.is_set()
    waiting.join(30)
    assert entered.is_set() and in_use() == 0


def test_what_the_server_has_given_up_is_taken_again(taken: list[UUID | None]) -> None:
    with gpus_held(), get_client(sync_client=True) as client:
        (first,) = taken
        time.sleep(0.5)
        assert taken == [first], "it is renewed, and not taken anew"
        client.release_concurrency_slots_with_lease(first)  # what the server does once a lease is over
        wait_for(lambda: len(taken) > 1 and taken[-1], 30, "it is not taken again")
        assert in_use() == 1
    assert in_use() == 0


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (None, ["gpu-a1", "gpu-b2"]),
        ("1", ["gpu-b2"]),
        ("GPU-b2, 0", ["gpu-b2", "gpu-a1"]),
        ("7", [NAME]),
        ("", []),
        ("-1", []),
        ("1,-1,0", ["gpu-b2"]),
        ("NoDevFiles", []),
        ("GPU-b, 1", ["gpu-b2"]),
        ("GPU-", [f"gpu-{socket.gethostname()}-GPU-"]),
    ],
)
def test_a_gpu_has_one_name_however_a_worker_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None, names: list[str]
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '0, GPU-a1\\n1, GPU-b2\\nWARNING: infoROM is corrupted\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen or "")
    if chosen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert leases._limits() == names


def test_a_driver_that_does_not_answer_has_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert leases._limits() == []


def test_who_sees_no_gpu_holds_none(taken: list[UUID | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with gpus_held():
        assert not taken
