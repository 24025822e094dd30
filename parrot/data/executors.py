"""Tasks done elsewhere, by processes of this machine or by the workers of a Dask cluster.

Which of them, and how many, changes no byte of what is made: a worker has to run the code and the libraries
that this process runs, in the same folder, which all of them see (a shared file system); others are refused.
"""

import hashlib
import os
import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from parrot.config import Speed
from parrot.errors import ParrotError
from parrot.pipeline.checkpoints import LIBRARIES
from parrot.pipeline.pool import process_pool

Item = TypeVar("Item")
_PATIENCE = 30  # seconds until a scheduler, or the first of its workers, has answered
_PACKAGE = Path(__file__).parents[1]


def in_order(
    items: Iterable[Item], task: Callable[[Item], None], is_done: Callable[[Item], bool], speed: Speed
) -> Iterator[Item]:
    """Do the task for each item that is not done yet, several beside one another; one at a time here.

    Yields the items in order, each when it is done; takes only so many ahead as keep all workers busy.

    Raises:
        ParrotError: a process has ended; Dask is not installed, or its scheduler or workers do not answer, or
            no longer.
    """
    if speed.prepare_processes == 1 and not speed.cluster:
        for item in items:
            if not is_done(item):
                task(item)
            yield item
        return
    waiting: deque[tuple[Item, Any]] = deque()
    with _workers(speed) as (submit, at_once):

        def oldest() -> Item:
            item, begun = waiting.popleft()
            if begun:
                begun.result()
            return item

        for item in items:
            waiting.append((item, None if is_done(item) else submit(task, item)))
            if len(waiting) > 2 * at_once:
                yield oldest()
        while waiting:
            yield oldest()


_Workers = AbstractContextManager[tuple[Callable[..., Any], int]]
"""A `submit` that gives futures, and how many tasks are done at once."""


def _workers(speed: Speed) -> _Workers:
    return _cluster(speed.cluster) if speed.cluster else _processes(speed.prepare_processes)


@contextmanager
def _processes(number: int) -> Iterator[tuple[Callable[..., Any], int]]:
    with process_pool(number, "speed.prepare_processes") as pool:
        yield pool.submit, number


def _code_digest(package: Path) -> str:
    """Formats are told by YAML, which makes bytes as modules do."""
    files = sorted(file for file in package.rglob("*") if file.suffix in (".py", ".yaml"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


_HERE = {
    "code": _code_digest(_PACKAGE),
    "python": platform.python_version(),
    **{library: version(library) for library in LIBRARIES},
}
"""What decides the bytes that a task makes, beside its inputs. The code is as it stood when this process
imported it: a worker may be older than an edit."""


@contextmanager
def _cluster(address: str) -> Iterator[tuple[Callable[..., Any], int]]:
    """A worker that ends in the middle of a task is no fault: another one does it again."""
    try:
        import dask
        from distributed import Client
        from distributed.client import ClosedClientError
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise ParrotError(
            "speed.cluster: Dask is not installed; `pip install '.[dask]'`, or leave the setting out"
        ) from None
    # An item travels with its task, which Dask takes for a mistake from 10 MB on.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}):
        try:
            client = Client(address, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ParrotError(
                f"speed.cluster: no Dask scheduler answers at {address} ({error}); start `dask scheduler`, "
                f"correct the address, or leave the setting out"
            ) from None
        with client:
            try:
                client.wait_for_workers(1, timeout=_PATIENCE)
            except TimeoutError:
                raise ParrotError(
                    f"speed.cluster: the scheduler at {address} has no workers; start `dask worker {address} "
                    f"--nthreads 1` from this environment, on machines that see {Path.cwd()}"
                ) from None

            def submit(task: Callable[[Any], None], item: Any) -> Any:
                return client.submit(_run, _HERE, Path.cwd(), task, item, pure=False)

            try:
                yield submit, sum(client.nthreads().values())
            except KilledWorker as error:
                raise ParrotError(
                    f"speed.cluster: workers end over the same task again and again; see the log of "
                    f"{error.last_worker.address}, or give them more memory"
                ) from None
            except (CancelledError, ClosedClientError):
                raise ParrotError(
                    f"speed.cluster: the scheduler at {address} was lost; start it and its workers again, "
                    f"then this stage: it goes on behind the partitions that are done"
                ) from None


def _run(expected: Mapping[str, str], folder: Path, task: Callable[[Any], None], item: Any) -> None:
    """On a worker."""
    where = f"speed.cluster: the worker on {platform.node()}"
    mine = {name: _HERE.get(name) for name in expected}
    if others := [f"{name} {mine[name]}, here {its}" for name, its in expected.items() if mine[name] != its]:
        raise ParrotError(
            f"{where} has {'; '.join(others)}: what they make might differ; start the workers again, "
            f"from this environment"
        )
    try:
        os.chdir(folder)
    except OSError as error:
        raise ParrotError(
            f"{where} does not see {folder} ({error.strerror}): it needs the project's folder under the same "
            f"path, on a shared file system"
        ) from None
    task(item)
