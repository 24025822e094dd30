"""What a worker holds while it runs a stage."""

import tomllib
import uuid
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest
from prefect.concurrency import _leases

from flows.stage_on_worker import _LEASE_SECONDS

ROOT = Path(__file__).parents[2]
JITTER = 1.2
"""Of Prefect's waits between two attempts, at most."""


class FirstPause:
    """The event that would end Prefect's loop, which ends once it pauses."""

    seconds: float | None = None

    def is_set(self) -> bool:
        return self.seconds is not None

    def wait(self, seconds: float) -> None:
        self.seconds = seconds


def test_the_hold_on_a_gpu_outlives_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    pause, client = FirstPause(), Mock()
    monkeypatch.setattr(_leases, "get_client", lambda **_: nullcontext(client))
    _leases._lease_renewal_loop(uuid.uuid4(), _LEASE_SECONDS, pause)  # type: ignore[arg-type]
    client.renew_concurrency_lease.assert_called_once()
    retries = tomllib.loads((ROOT / "prefect.toml").read_text())["client"]["max_retries"]
    waited = sum(2**attempt for attempt in range(1, retries + 1))
    assert pause.seconds and pause.seconds + JITTER * waited < _LEASE_SECONDS
