"""Leases of Prefect's concurrency limits: short, so that the dead hold nothing, and renewed often.

Prefect renews a lease only once three quarters of it are over (prefect/concurrency/_leases.py), and asks a
server that is away at longer and longer intervals. A short lease ends meanwhile, though its run lives.
"""

import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import cache
from itertools import takewhile
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.runtime import flow_run

from flows.server import impatient_client

LEASE_SECONDS = 120.0
"""After so long a server that hears nothing gives a dead worker's GPUs to others; it looks every 15 s. It may
itself be away for nearly as long."""
_RENEW_SECONDS = 10.0
_LOOK_SECONDS = 5.0
"""Between two looks at whether a GPU that another run holds is free."""
_SLOT_SECONDS = 300.0
"""What Prefect gives a run of a deployment with `concurrency_limit`, and renews it to."""
_GONE, _TAKEN = 410, 423


@contextmanager
def gpus_held() -> Iterator[None]:
    """Hold a global limit of one for each GPU that this worker sees: two workers may see the same.

    A server that is away ends no training. If it was away for longer than the lease, the GPUs are taken again
    as soon as it is back and nobody else has them.
    """
    if not (names := _limits()):
        yield
        return
    shown = " and ".join(names)
    say_once = cache(get_run_logger().warning)
    with get_client(sync_client=True) as client:
        for name in names:
            client.upsert_global_concurrency_limit_by_name(name, 1)
        while (lease := _take(client, names)) is None:
            say_once(f"waits for {shown}, which another run holds")
            time.sleep(_LOOK_SECONDS)

    def take_again(client: SyncPrefectClient) -> UUID | None:
        if (another := _take(client, names)) is None:
            say_once(f"the server was away for long and has given {shown} to another run as well")
        return another

    with _renewed(lease, LEASE_SECONDS, take_again, release=True):
        yield


@contextmanager
def slot_held() -> Iterator[None]:
    """Keep the slot that the server has given this run, if its deployment has a `concurrency_limit`.

    Prefect ends a run whose slot is lost.
    """
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(flow_run.get_id())).state
    if not (lease := state and state.state_details.deployment_concurrency_lease_id):
        yield
        return
    with _renewed(lease, _SLOT_SECONDS):
        yield


@contextmanager
def _renewed(
    lease: UUID,
    seconds: float,
    take_again: Callable[[SyncPrefectClient], UUID | None] = lambda _: None,
    *,
    release: bool = False,
) -> Iterator[None]:
    """Renew a lease while the block lasts; a server that is away is asked again.

    Args:
        take_again: gives another lease for one that the server has ended, if there is one.
        release: end it with the block. If the server is away just then, it ends by itself.
    """
    over = threading.Event()

    def keep() -> None:
        held = lease
        with impatient_client() as client:
            while not over.wait(_RENEW_SECONDS):
                with suppress(httpx.HTTPError):
                    if not _renew(client, held, seconds):
                        held = take_again(client) or held
            if release:
                with suppress(httpx.HTTPError):
                    client.release_concurrency_slots_with_lease(held)

    keeper = threading.Thread(target=copy_context().run, args=(keep,), name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _renew(client: SyncPrefectClient, lease: UUID, seconds: float) -> bool:
    """False: the server has ended the lease."""
    try:
        client.renew_concurrency_lease(lease, seconds)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != _GONE:
            raise
        return False
    return True


def _take(client: SyncPrefectClient, names: list[str]) -> UUID | None:
    """A lease for all of these limits, or None: somebody holds one of them."""
    try:
        answer = client.increment_concurrency_slots_with_lease(names, 1, "concurrency", LEASE_SECONDS)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != _TAKEN:
            raise
        return None
    return UUID(answer.json()["lease_id"])


def _limits() -> list[str]:
    """A name for each GPU that this worker sees, the same for every worker that sees it.

    Its number would not do: each job of Slurm and each container may count its own GPUs from 0.
    """
    listed = _listed()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = listed if chosen is None else takewhile(_is_gpu, map(str.strip, chosen.split(",")))
    return list(dict.fromkeys(_limit(device, listed) for device in devices))


def _is_gpu(device: str) -> bool:
    """CUDA sees nothing from the first on that is none: `-1`, or `NoDevFiles`, as Slurm writes it."""
    return device.isdecimal() or device.startswith(("GPU-", "MIG-"))


def _limit(device: str, listed: Mapping[str, str]) -> str:
    """Its name may be cut short, as CUDA allows; one that is not listed has a name on this machine."""
    names = [listed[device]] if device in listed else [n for n in listed.values() if n.startswith(device)]
    name = names[0] if len(names) == 1 else f"{socket.gethostname()}-{device}"
    return f"gpu-{name.removeprefix('GPU-')}"


def _listed() -> dict[str, str]:
    """The number of each GPU here and the name that it has everywhere, as NVIDIA's driver tells."""
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return {}
    # Among its lines may be warnings, or that there are no devices.
    return {} if done.returncode else dict(re.findall(r"^(\d+), (\S+)$", done.stdout, re.MULTILINE))
