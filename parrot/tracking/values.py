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


@dataclass
class Values:
    """What is still to be written. Writing any of it twice is harmless."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Point] = field(default_factory=list)
    parent_metrics: list[Point] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(asdict(self).values())

    def put_back(self, earlier: "Values") -> None:
        self.params = earlier.params | self.params
        self.tags = earlier.tags | self.tags
        self.metrics[:0] = earlier.metrics
        self.parent_metrics[:0] = earlier.parent_metrics
        self.artifacts[:0] = earlier.artifacts

    def write(self, client: "MlflowClient", run: str, parent: str | None) -> None:
        from mlflow.entities import Metric, Param, RunTag

        params = [Param(name, value) for name, value in self.params.items()]
        tags = [RunTag(name, value) for name, value in self.tags.items()]
        for target, kind, items in (
            (run, "params", params),
            (run, "tags", tags),
            (run, "metrics", [Metric(*point) for point in self.metrics]),
            (parent, "metrics", [Metric(*point) for point in self.parent_metrics]),
        ):
            for start in range(0, len(items) if target else 0, _BATCH[kind]):
                client.log_batch(target, **{kind: items[start : start + _BATCH[kind]]})
        for path in self.artifacts:
            if Path(path).is_dir():
                client.log_artifacts(run, path, Path(path).name)
            else:
                client.log_artifact(run, path)


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


def _allowed(name: str) -> str:
    """The name with what MLflow refuses in it replaced."""
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)
