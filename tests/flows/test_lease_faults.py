"""Who holds a GPU whose worker is killed, or while the server is away: a server, and a process with a GPU."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from team import GPU, ROOT, Team, wait_for

from flows.leases import LEASE_SECONDS

pytestmark = pytest.mark.slow
HOLDER = """
import time
from prefect.logging import disable_run_logger
from flows.leases import gpus_held

with disable_run_logger(), gpus_held():
    time.sleep(600)
"""
AWAY_SECONDS = 60.0


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with Team(tmp_path_factory.mktemp("team"), ROOT) as made:
        made.more = {"CUDA_VISIBLE_DEVICES": GPU}
        made.start_server()
        yield made


def hold(team: Team) -> subprocess.Popen[bytes]:
    team.start("holder", sys.executable, "-c", HOLDER)
    wait_for(team.leases, 300, "nobody holds the GPU")
    return team.processes.pop("holder")


@pytest.mark.parametrize("seconds", [0, 15, 25])
def test_what_is_killed_holds_its_gpu_for_two_minutes_and_no_longer(team: Team, seconds: float) -> None:
    """Before and after its lease was renewed."""
    holder = hold(team)
    time.sleep(seconds)
    assert team.gpus_in_use() == 1
    holder.kill()
    holder.wait()
    wait_for(lambda: team.gpus_in_use() == 0, LEASE_SECONDS + 30, "its GPU stays taken")
    assert not team.leases()


@pytest.mark.parametrize("seconds", [0, 5, 15])
def test_what_lives_keeps_its_gpu_while_the_server_is_away(team: Team, seconds: float) -> None:
    holder = hold(team)
    try:
        time.sleep(seconds)
        team.stop("server")
        time.sleep(AWAY_SECONDS)
        team.start_server()
        for _ in range(90):  # until a lease that nobody renews is over, and the server has looked for such
            assert team.gpus_in_use() == 1
            time.sleep(1)
        (left,) = team.leases()
        assert left > LEASE_SECONDS - 30, "it is renewed"
    finally:
        holder.terminate()
        holder.wait()
        wait_for(lambda: team.gpus_in_use() == 0, LEASE_SECONDS + 30, "its GPU stays taken")
