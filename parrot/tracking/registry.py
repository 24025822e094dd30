"""The versions of a model, and which of them is the champion, in MLflow's registry."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from parrot.errors import Gone, ParrotError
from parrot.tracking.dvc_stages import locked_stages
from parrot.tracking.earlier_runs import fetch_artifact, find_maker
from parrot.tracking.logged_models import EVALUATED, EVALUATION, MODEL, WEIGHTS, record_model
from parrot.tracking.store import check_store, connect, existing_run, reason, refusal, shown_uri
from parrot.tracking.values import allowed, input_digests, tag_texts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
"""Aliases: the published one, the one made last, and the champion before."""

_PACKAGED = "package"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model."""

    name: str
    version: str
    run_id: str
    """Of the stage that packaged it; of its evaluation where this store knows no such run."""
    commit: str
    """At which it was trained; UNKNOWN in a project without git."""
    weights: str
    """DVC's hash of the model's folder."""


def register(name: str, run_id: str | None = None) -> ModelVersion:
    """The package just made as a version, called `challenger`; the same weights are the same version again.

    Args:
        run_id: of the stage that packaged it (default: the run that made what dvc.lock says).

    Raises:
        ParrotError: nothing has been trained and packaged here, the run packaged another model, or the
            store cannot be used.
    """
    with registry_client() as client:
        _, experiment = connect()
        model = record_model(client, experiment)
        if model is None or EVALUATED not in model.tags:
            raise ParrotError("dvc.lock: no evaluated model to register; `dvc repro package` makes one")
        run_id = run_id or _packaging_run(client, experiment) or model.tags[f"{EVALUATED}.run"]
        packed = input_digests(client.get_run(run_id)).get(MODEL)
        if packed not in (None, model.tags[WEIGHTS]):
            raise ParrotError(f"run {run_id}: it packaged other weights than those of dvc.lock; name the "
                              f"run that packaged these, or none")  # fmt: skip
        known = (version for version in versions(name) if version.weights == model.tags[WEIGHTS])
        version = next(known, None) or _create(client, name, model, run_id)
        client.set_registered_model_alias(name, CHALLENGER, version.version)
        return version


def versions(name: str) -> list[ModelVersion]:
    """All of them, the oldest first; none where the model is not registered yet.

    Raises:
        ParrotError: the store cannot be used.
    """
    with registry_client() as client:
        found = client.search_model_versions(f"name = '{_checked(name)}'")
        return sorted(map(_version, found), key=lambda version: int(version.version))


def champion(name: str) -> ModelVersion | None:
    """The version with this alias, or None: nothing has been promoted yet.

    Raises:
        Gone: what was promoted last has been deleted.
        ParrotError: the store cannot be used.
    """
    return by_alias(name, CHAMPION)


def by_alias(name: str, alias: str) -> ModelVersion | None:
    """The version that an alias points to, or None.

    Raises:
        Gone, ParrotError: as for `champion`.
    """
    with registry_client() as client:
        registered = client.search_registered_models(f"name = '{_checked(name)}'", max_results=1)
        if not registered:
            return None
        number = registered[0].aliases.get(alias)
        if number is not None:
            return _version(client.get_model_version(name, number))
        promoted = registered[0].tags.get(alias)
        if promoted is not None:  # MLflow takes an alias away with its version, and says nothing
            raise Gone(
                f"models:/{name}@{alias}: version {promoted} or its alias has been deleted from the "
                f"registry; `parrot rollback` names another champion"
            )
        return None


def promote(version: ModelVersion) -> None:
    """Move `champion` to it; the champion before is `previous`. It is no challenger any longer.

    Raises:
        ParrotError: there is no such version any more, or the store cannot be used.
    """
    name, number = version.name, version.version
    with registry_client() as client:
        client.get_model_version(name, number)
        aliases = {alias: str(at) for alias, at in client.get_registered_model(name).aliases.items()}
        before = aliases.get(CHAMPION)
        if before not in (None, number):
            client.set_registered_model_alias(name, PREVIOUS, before)
        client.set_registered_model_alias(name, CHAMPION, number)
        client.set_registered_model_tag(name, CHAMPION, number)
        if aliases.get(CHALLENGER) == number:
            client.delete_registered_model_alias(name, CHALLENGER)


def tag(version: ModelVersion, key: str, value: str) -> None:
    """Set a tag on the version, its run and the pipeline run that this is part of.

    Raises:
        ParrotError: there is no such version any more, or the store cannot be used.
    """
    (text,) = tag_texts({key: value}).values()
    with registry_client() as client:
        client.set_model_version_tag(version.name, version.version, allowed(key), text)
        if run := existing_run(client, version.run_id):  # a person may have deleted it
            parent = existing_run(client, run.data.tags.get("mlflow.parentRunId"))
            for known in filter(None, (run, parent)):
                client.set_tag(known.info.run_id, allowed(key), text)


def fetch_evaluation(version: ModelVersion, folder: Path) -> Path:
    """Copy the evaluation of this version, and of no other, into `folder`: what `parrot compare` reads.

    Raises:
        Gone: its run or its files have been deleted.
        ParrotError: the store cannot be used.
    """
    with registry_client() as client:
        run = client.get_model_version(version.name, version.version).tags[f"{EVALUATED}.run"]
    return fetch_artifact(run, Path(EVALUATION).name, folder)


def _packaging_run(client: "MlflowClient", experiment: str) -> str | None:
    (stage,) = locked_stages([_PACKAGED])
    maker = find_maker(client, experiment, stage)
    return maker.info.run_id if maker else None


def _create(client: "MlflowClient", name: str, model: "LoggedModel", run_id: str) -> ModelVersion:
    if not client.search_registered_models(f"name = '{_checked(name)}'", max_results=1):
        client.create_registered_model(name, description="Weights stay in DVC and on the Hub; see the tags.")
    kept = {key: model.tags[key] for key in (WEIGHTS, EVALUATED, f"{EVALUATED}.run")}
    tags = kept | {"commit": model.tags.get("commit", UNKNOWN)}
    made = client.create_model_version(
        name,
        model.artifact_location,
        run_id,
        tags=tags,
        description=f"`{MODEL}` with DVC's hash `{model.tags[WEIGHTS]}`",
        model_id=model.model_id,
    )
    return _version(made)


def _version(found: "MlflowVersion") -> ModelVersion:
    tags = found.tags
    return ModelVersion(
        found.name,
        str(found.version),
        found.run_id or "",
        tags.get("commit", UNKNOWN),
        tags.get(WEIGHTS, UNKNOWN),
    )


def _checked(name: str) -> str:
    if not name or any(letter in name for letter in "/:'%"):
        raise ParrotError(f"params.yaml: package.name: '{name}' holds one of / : ' %, "
                          f"which MLflow takes in no model's name")  # fmt: skip
    return name


@contextlib.contextmanager
def registry_client() -> Iterator["MlflowClient"]:
    """A client, and sentences for what the store refuses."""
    check_store()
    from mlflow.exceptions import MlflowException

    try:
        yield connect()[0]
    except MlflowException as error:
        said = f"{shown_uri()}: the registry of models says: {reason(error)}"
        raise refusal(error, said) from None
