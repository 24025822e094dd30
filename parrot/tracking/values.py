"""Params, tags, metrics and artifacts on their way to MLflow, in the form and size that it takes."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parrot.lineage import as_text, flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

_TEXT_LIMIT = 6000  # characters; MLflow cuts longer values without a word
_DIGEST_LIMIT = 36  # characters
_BATCH = {"params": 100, "tags": 100, "metrics": 500}  # MLflow's limits for one request

Point = Sequence[Any]
"""Name, value, milliseconds, step."""

Artifact = Sequence[str]
"""A file or folder, and the folder of the run that it goes into ("" for none)."""

_SHOWN = (".csv", ".html", ".png", ".svg")


@dataclass
class Values:
    """What is still to be written. Writing any of it twice is harmless."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Point] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    """Data that a stage reads: path as in dvc.yaml -> DVC's hash."""
    parent_tags: dict[str, str] = field(default_factory=dict)
    parent_metrics: list[Point] = field(default_factory=list)
    parent_artifacts: list[Artifact] = field(default_factory=list)

    def filled(self) -> dict[str, Any]:
        """What is not empty, by name."""
        return {name: value for name, value in asdict(self).items() if value}

    def add(self, later: "Values") -> None:
        for name in (item.name for item in fields(self)):
            there, more = getattr(self, name), getattr(later, name)
            setattr(self, name, there | more if isinstance(there, dict) else there + more)

    def write(self, client: "MlflowClient", run: str, parent: str | None, home: Path = Path()) -> None:
        """Write them into the run, and what is its parent's into that.

        Args:
            home: where artifacts lie whose paths are relative.
        """
        _write(client, run, self, home)
        if parent:
            told = Values(tags=self.parent_tags, metrics=self.parent_metrics, artifacts=self.parent_artifacts)
            _write(client, parent, told, home)


def _write(client: "MlflowClient", run: str, values: Values, home: Path) -> None:
    from mlflow.entities import Metric, Param, RunTag

    items: dict[str, list[Any]] = {
        "params": [Param(name, value) for name, value in values.params.items()],
        "tags": [RunTag(name, value) for name, value in values.tags.items()],
        "metrics": [Metric(*point) for point in values.metrics],
    }
    for kind, whole in items.items():
        for start in range(0, len(whole), _BATCH[kind]):
            client.log_batch(run, **{kind: whole[start : start + _BATCH[kind]]})
    if values.inputs:
        client.log_inputs(run, dataset_inputs(values.inputs))
    for path, folder in values.artifacts:
        log = client.log_artifacts if (home / path).is_dir() else client.log_artifact
        log(run, str(home / path), folder or None)


def dataset_inputs(inputs: Mapping[str, str]) -> list["DatasetInput"]:
    """Data as MLflow knows data sets: the path is the name and the source, DVC's hash the digest."""
    from mlflow.entities import Dataset, DatasetInput

    return [
        DatasetInput(Dataset(path, digest[:_DIGEST_LIMIT], "local", json.dumps({"uri": path})), [])
        for path, digest in inputs.items()
    ]


def input_digests(run: "Run") -> dict[str, str]:
    """The data that a run has read, as `dataset_inputs` logged them."""
    return {item.dataset.name: item.dataset.digest for item in run.inputs.dataset_inputs}


def code_tags(code: Mapping[str, str]) -> dict[str, str]:
    """How a run tells the code that it depends on, by path and hash."""
    return tag_texts({f"code.{path}": md5 for path, md5 in code.items()})


def shown(path: Path) -> list[Artifact]:
    """Of an output, what people look at: a page, a picture, a table, or those directly in a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    folder = path.name if path.is_dir() else ""
    return [(str(file), folder) for file in files if file.suffix in _SHOWN and file.is_file()]


def param_texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Nested sections become dotted names; values over MLflow's limit end in how long they were."""
    texts = {allowed(name): as_text(value) for name, value in flatten(params).items()}
    return {
        name: text if len(text) <= _TEXT_LIMIT else f"{text[: _TEXT_LIMIT - 40]}… ({len(text)} characters)"
        for name, text in texts.items()
    }


def tag_texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {allowed(name): as_text(value)[:_TEXT_LIMIT] for name, value in tags.items()}


def points(metrics: Mapping[str, Any], step: int = 0) -> list[Point]:
    """The numbers among `metrics`, as of now; nested sections become dotted names."""
    now = milliseconds()
    return [
        (allowed(name), float(value), now, step)
        for name, value in flatten(metrics).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def of_stage(stage: str, metrics: list[Point]) -> list[Point]:
    """A stage's metrics by the names that they have in the pipeline run."""
    return [(f"{allowed(stage)}/{name}", *rest) for name, *rest in metrics]


def stage_tags(stage: str, state: str, made_by: str | None = None) -> dict[str, str]:
    """How a pipeline run tells what became of a stage, and of a cached one, which run made its outputs."""
    tags = {f"stage.{allowed(stage)}": state}
    return tags | ({f"stage.{allowed(stage)}.run": made_by} if made_by else {})


def allowed(name: str) -> str:
    """The name as MLflow's keys may be: `prepare@captions` becomes `prepare:captions`."""
    name = name.replace("@", ":")
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)


def milliseconds() -> int:
    """Of the time of day, as MLflow wants it."""
    return time.time_ns() // 1_000_000
