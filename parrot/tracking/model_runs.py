"""What MLflow has of one model: the runs that made and read it, and its versions in the registry."""

from typing import TYPE_CHECKING, Any

from parrot.errors import ParrotError
from parrot.tracking.logged_models import MODEL, WEIGHTS, find_model
from parrot.tracking.registry import registry_client
from parrot.tracking.store import connect, database_file, existing_run, shown_uri
from parrot.tracking.values import input_digests

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_COMMIT = "mlflow.source.git.commit"


def facts_of_run(run_id: str) -> tuple[str | None, str | None]:
    """Weights and commit of a run: of a pipeline run, those that its stages have read or made.

    Raises:
        ParrotError: there is no such run, or the store cannot be used.
    """
    with registry_client() as client:
        run = existing_run(client, run_id)
        if run is None:
            raise ParrotError(f"{shown_uri()}: there is no run {run_id}, or it was deleted; name a commit, a "
                              f"package's folder or models:/NAME/VERSION")  # fmt: skip
        query = f"tags.`mlflow.parentRunId` = '{run_id}'"
        runs = [run, *client.search_runs([run.info.experiment_id], query)]
        runs += [
            found
            for name, value in run.data.tags.items()
            if name.startswith("stage.") and name.endswith(".run") and (found := existing_run(client, value))
        ]
        weights = next(filter(None, (_weights(client, run) for run in runs)), None)
        trained = next((it for it in runs if it.outputs and it.outputs.model_outputs), run)
        return weights, trained.data.tags.get(_COMMIT)


def _weights(client: "MlflowClient", run: "Run") -> str | None:
    for made in run.outputs.model_outputs if run.outputs else []:
        return str(client.get_logged_model(made.model_id).tags[WEIGHTS])
    return input_digests(run).get(MODEL)


def runs_and_versions(
    weights: str | None, commit: str | None
) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """The runs that have made, read or packaged these weights, and their parents; the registered versions.

    Where the weights are not known: the pipeline runs of the commit, and no versions.

    Raises:
        ParrotError: the store cannot be used, or is not there.
    """
    file = database_file()
    if file and not file.is_file():
        raise ParrotError(f"{shown_uri()}: no MLflow store here; set MLFLOW_TRACKING_URI to see its runs")
    with registry_client() as client:
        _, experiment = connect()
        if weights is None:
            query = f"tags.`{_COMMIT}` = '{commit}' AND tags.`parrot.kind` = 'pipeline'"
            return [_shown(run) for run in client.search_runs([experiment], query)], []
        runs = {
            run.info.run_id: run for run in client.search_runs([experiment], f"dataset.digest = '{weights}'")
        }
        if model := find_model(client, experiment, weights):
            for known in (model.source_run_id, model.tags.get("evaluate.run")):
                if run := existing_run(client, known):
                    runs[run.info.run_id] = run
        for run in list(runs.values()):
            if parent := existing_run(client, run.data.tags.get("mlflow.parentRunId")):
                runs[parent.info.run_id] = parent
        aliases = [
            (alias, model.name, str(number))
            for model in client.search_registered_models()
            for alias, number in model.aliases.items()
        ]
        versions = [
            {
                "name": version.name,
                "version": str(version.version),
                "aliases": [alias for alias, *at in aliases if at == [version.name, str(version.version)]],
            }
            for version in client.search_model_versions(f"tags.`{WEIGHTS}` = '{weights}'")
        ]
        ordered = sorted(runs.values(), key=lambda run: run.info.start_time)
        return [_shown(run) for run in ordered], versions


def _shown(run: "Run") -> dict[str, str]:
    return {"id": run.info.run_id, "name": run.info.run_name, "status": run.info.status}
