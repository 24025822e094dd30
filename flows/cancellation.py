"""Cancel, heard by the run itself, and not only by the worker that has started it.

Prefect's worker stops listening for good once its server was away for about half a minute
(prefect/_internal/observers.py: FlowRunCancellingObserver ends at the third refusal in a row), and of what is
started in a terminal nobody listens at all.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import Abort, ObjectNotFound, TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Cancelled

from flows.reproduce import stopping
from flows.server import impatient_client

LOOK_SECONDS = 3.0
"""Between two looks at the run's state. A worker that listens ends the run before the second. Two looks here,
and after them two by the run of a stage on a worker, fit into the 20 seconds in which Cancel ends a stage."""


@contextmanager
def cancellable() -> Iterator[None]:
    """End the block by SIGTERM, as Prefect's worker does, once the run is found to be cancelling twice.

    Raises:
        Abort: that is what has ended it; the server knows the run as cancelled.
    """
    run = UUID(flow_run.get_id())
    stopping.clear()
    over, heard = threading.Event(), threading.Event()

    def watch() -> None:
        found = 0
        with impatient_client() as client:
            while found < 2:
                if over.wait(LOOK_SECONDS) or stopping.is_set():
                    return
                try:
                    state = client.read_flow_run(run).state
                except (httpx.HTTPError, ObjectNotFound):  # the server is away, or somebody deleted the run
                    continue
                found = found + 1 if state and state.is_cancelling() else 0
        if over.is_set():
            return
        heard.set()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=copy_context().run, args=(watch,), name="cancellable", daemon=True).start()
    try:
        yield
    except TerminationSignal:
        if not heard.is_set():
            raise
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run, Cancelled(message="Flow run was cancelled."))
        raise Abort("cancelled") from None
    finally:
        over.set()
