"""One parent run for a pipeline run, one child for each of its stages."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from parrot.errors import ParrotError
from parrot.files import write_json
from parrot.lineage import run_tags
from parrot.pipeline.graph import display_name, stage_address
from parrot.pipeline.processes import dvc_process, find_process, identity
from parrot.tracking.background import start_sender, wait_until_sent
from parrot.tracking.conclude import conclude
from parrot.tracking.dvc_stages import locked_stages
from parrot.tracking.earlier_runs import name_by_changes, values_of_cached
from parrot.tracking.parents import (
    PARAMS_ARTIFACT,
    all_params,
    data_input,
    forget_unknown_parent,
    told_params,
)
from parrot.tracking.runs import Birth, TrackedRun, begin, ending, say
from parrot.tracking.sending import Sender, send_all
from parrot.tracking.store import check_store, connect, shown_uri
from parrot.tracking.system_metrics import system_metrics
from parrot.tracking.values import Values, param_texts, stage_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT_VARIABLE = "PARROT_PARENT_RUN"
"""Set by the flow for its stages: the id of the run that they are children of."""
SENDER_VARIABLE = "PARROT_SENDER"
"""Set by the flow for its stages: its `identity`. Where it lives it sends their runs, too: many
stages take seconds, and so does importing mlflow."""


@contextlib.contextmanager
def track_stage(name: str, params: Mapping[str, Any]) -> Iterator[TrackedRun]:
    """Track one stage: `params` are those that it depends on, by section.

    Under the flow the run is a child of the flow's; under a bare `dvc repro` the stages of that
    DVC process share a parent, made by the first; without DVC the run stands alone, and what it
    reads is not known.

    Raises:
        ParrotError: the store cannot be used, found before the stage begins.
    """
    check_store()
    address, parent = stage_address(), os.environ.get(PARENT_VARIABLE)
    flow = os.environ.get(SENDER_VARIABLE, "")
    is_sent = parent is not None and find_process(flow) is not None
    dvc = dvc_process() if parent is None and address else None
    name_of_dvc = identity(dvc) if dvc else None
    sends = flow if is_sent else name_of_dvc or identity()
    run = begin("stage", name, sender=sends, stage=address, parent=parent, ends_parent=dvc is not None)
    run.log_params(params)
    sender = None
    if name_of_dvc:
        start_sender(name_of_dvc)
    elif not is_sent:
        sender = Sender(identity(), forget_unknown_parent, run)
    try:
        with ending(run), system_metrics(run):
            yield run
    finally:
        if name_of_dvc:
            wait_until_sent(run, name_of_dvc)
        elif sender:
            sender.close()


@contextlib.contextmanager
def track_pipeline() -> Iterator[TrackedRun]:
    """Track a pipeline run; stages started inside become children of it.

    Raises:
        ParrotError: the store cannot be used, or `params.yaml` is not what it must be.
    """
    check_store()
    every, tags = all_params(), run_tags()
    params = told_params(every)

    def prepare(client: "MlflowClient", experiment: str, birth: Birth) -> None:
        if birth.tags["parrot.kind"] == "pipeline":
            birth.name = name_by_changes(client, experiment, params, tags)

    run = begin("pipeline", "pipeline", sender=identity(), gathered=True)
    run.set_tags(tags)
    write_json(run.folder / PARAMS_ARTIFACT, param_texts(every))
    # As they were told, and not as texts once more: a number may be called key, a text may not.
    run.note(Values(params=params, artifacts=[(PARAMS_ARTIFACT, "")], inputs=data_input(tags)))
    sender = Sender(identity(), prepare, run)
    try:
        with ending(run):
            if (parent := sender.wait_until_open()) is None:
                raise ParrotError(f"{shown_uri()}: MLflow cannot use this store; see the message above")
            os.environ |= {PARENT_VARIABLE: parent, SENDER_VARIABLE: identity()}
            try:
                yield run
            finally:
                del os.environ[PARENT_VARIABLE], os.environ[SENDER_VARIABLE]
    finally:
        sender.close()
        if run.id:
            conclude(run.id)


def log_states(pipeline: TrackedRun, states: Mapping[str, str]) -> None:
    """Let a pipeline run show what became of its stages, also of those that did not run.

    Args:
        states: by the stages' addresses; of those "cached" or "restored" it shows what the run that made
            them found.
    """
    try:
        for address, state in states.items():
            pipeline.note(Values(tags=stage_tags(display_name(address), state)))
        cached = [address for address, state in states.items() if state in ("cached", "restored")]
        client, experiment = connect()
        for stage in locked_stages(cached) if cached else []:
            pipeline.add(values_of_cached(client, experiment, stage, states[stage.address]))
    except Exception as error:  # the pipeline's work must not be lost with its tracking
        say(f"MLflow is not told of the cached stages: {error}")


def ensure_store() -> None:
    """Create the store where there is none, and send what an absent server has left behind.

    Raises:
        ParrotError: the store cannot be used.
    """
    check_store()
    send_all(*connect())
