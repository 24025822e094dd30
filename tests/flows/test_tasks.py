"""How the pipeline waits for a stage on a worker."""

from uuid import uuid4

import httpx
import pytest

from flows import tasks
from flows.reproduce import StageFailed, stopping


class Away:
    """A client of a server that is away."""

    def __enter__(self) -> "Away":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_run(self, _run: object) -> None:
        assert not stopping.is_set(), "it is asked for ever"
        stopping.set()  # Ctrl-C, while it is asked
        raise httpx.ConnectError("refused")


def test_a_run_that_is_stopped_ends_also_while_the_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(tasks, "impatient_client", Away)
    try:
        with pytest.raises(StageFailed, match=r"sft: the server is away .* cancel the stage's run there"):
            tasks._wait(uuid4(), "sft")
    finally:
        stopping.clear()
