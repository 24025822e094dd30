"""What MLflow learns of a run. Nothing else in the project imports mlflow.

One parent run stands for one pipeline run and has one child run per stage. The store is
`mlflow.db` and `mlruns/` in the project, or what MLFLOW_TRACKING_URI names. A stage notes what it has to say
in a folder of its run; the flow sends it, or a process of its own that all stages of a bare `dvc repro`
share, so that neither mlflow's import nor a slow server holds up a stage's work. `python -m parrot.tracking`
creates the store and sends what an absent server has left behind.
"""

from parrot.network import reach_local_directly
from parrot.tracking.earlier_runs import fetch_artifact
from parrot.tracking.store import where_to_look
from parrot.tracking.tracked_stages import (
    PARENT_VARIABLE,
    SENDER_VARIABLE,
    ensure_store,
    log_states,
    track_pipeline,
    track_stage,
)

__all__ = [
    "PARENT_VARIABLE",
    "SENDER_VARIABLE",
    "ensure_store",
    "fetch_artifact",
    "log_states",
    "track_pipeline",
    "track_stage",
    "where_to_look",
]

reach_local_directly()  # MLflow's server, if it is here
