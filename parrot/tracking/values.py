"""Params, tags, metrics and artifacts on their way to MLflow, in the form and size that it takes."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parrot.lineage import as_text, flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TEXT_LIMIT = 6000  # characters; MLflow cuts longer values without a word
_BATCH = {"params": 100, "tags": 100, "metrics": 500}  # MLflow's limits for one request

Point = tuple[str, float, int, int]
"""Name, value, milliseconds, step."""

Artifact = tuple[str, str]
"""A file or folder, and the folder of the run that it goes into ("" for none)."""

_SHOWN = (".csv", ".html", ".png", ".svg")


@dataclass
class Values:
    """What is still to be written. Writing any of it twice is harmless."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Point] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    parent_tags: dict[str, str] = field(default_factory=dict)
    parent_metrics: list[Point] = field(default_factory=list)
    parent_artifacts: list[Artifact] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(asdict(self).values())

    def put_back(self, earlier: "Values") -> None:
        """Put what was to be written earlier in front of what has come since."""
        self.params = earlier.params | self.params
        self.tags = earlier.tags | self.tags
        self.parent_tags = earlier.parent_tags | self.parent_tags
        self.metrics[:0] = earlier.metrics
        self.artifacts[:0] = earlier.artifacts
        self.parent_metrics[:0] = earlier.parent_metrics
        self.parent_artifacts[:0] = earlier.parent_artifacts

    def write(self, client: "MlflowClient", run: str, parent: str | None) -> None:
        _write(client, run, self.params, self.tags, self.metrics, self.artifacts)
        if parent:
            _write(client, parent, {}, self.parent_tags, self.parent_metrics, self.parent_artifacts)


def _write(
    client: "MlflowClient",
    run: str,
    params: dict[str, str],
    tags: dict[str, str],
    metrics: list[Point],
    artifacts: list[Artifact],
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    items: dict[str, list[Any]] = {
        "params": [Param(name, value) for name, value in params.items()],
        "tags": [RunTag(name, value) for name, value in tags.items()],
        "metrics": [Metric(*point) for point in metrics],
    }
    for kind, whole in items.items():
        for start in range(0, len(whole), _BATCH[kind]):
            client.log_batch(run, **{kind: whole[start : start + _BATCH[kind]]})
    for path, folder in artifacts:
        if Path(path).is_dir():
            client.log_artifacts(run, path, folder or None)
        else:
            client.log_artifact(run, path, folder or None)


def artifact(path: Path | str) -> Artifact:
    """A file as it is; a folder under its name."""
    path = Path(path)
    return str(path), path.name if path.is_dir() else ""


def shown(path: Path | str) -> list[Artifact]:
    """Of an output, what people look at: a page, a picture, a table, or those directly in a folder."""
    path = Path(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    folder = path.name if path.is_dir() else ""
    return [(str(file), folder) for file in files if file.suffix in _SHOWN and file.is_file()]


def param_texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Nested sections become dotted names; values over MLflow's limit end in how long they were."""
    texts = {_allowed(name): as_text(value) for name, value in flatten(params).items()}
    return {
        name: text if len(text) <= _TEXT_LIMIT else f"{text[: _TEXT_LIMIT - 40]}… ({len(text)} characters)"
        for name, text in texts.items()
    }


def tag_texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {_allowed(name): as_text(value)[:_TEXT_LIMIT] for name, value in tags.items()}


def points(metrics: Mapping[str, Any], step: int) -> list[Point]:
    """The numbers among `metrics`, as of now; nested sections become dotted names."""
    now = time.time_ns() // 1_000_000
    return [
        (_allowed(name), float(value), now, step)
        for name, value in flatten(metrics).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def of_stage(stage: str, metrics: list[Point]) -> list[Point]:
    """A stage's metrics by the names that they have in the pipeline run."""
    return [(f"{stage}/{name}", value, when, step) for name, value, when, step in metrics]


def _allowed(name: str) -> str:
    """The name with what MLflow refuses in it replaced."""
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)
