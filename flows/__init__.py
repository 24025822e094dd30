"""Prefect on top of the DVC pipeline: schedule, retries, one run at a time, a summary to look at."""

import os

from parrot.network import reach_local_directly

# Read by prefect and dvc when they are imported; further settings are in prefect.toml.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
# The flow prints what a person needs itself; Prefect's log goes to its server.
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
# Its own server shares the cores with what trains: it looks for what has not happened once a minute.
os.environ.setdefault("PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY", "PT1M")

reach_local_directly()  # Prefect's own server among it
