"""What a pipeline run is called: what is new in it, compared with the last one that ended well."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LONGEST_VALUE = 24
_MOST_CHANGES = 3
_VERSIONS = ("python", "torch", "transformers")


def name_by_changes(
    client: "MlflowClient", experiment: str, params: Mapping[str, str], tags: Mapping[str, str]
) -> str:
    """Such as "sft.learning_rate 0.001 → 0.002, data", "code 1a2b3c4", "first run" or "same settings"."""
    query = "tags.`parrot.kind` = 'pipeline' AND attributes.status = 'FINISHED'"
    last = client.search_runs([experiment], query, max_results=1, order_by=["attributes.start_time DESC"])
    if not last:
        return "first run"
    before = last[0].data
    found = changes(before.params, params)
    if before.tags.get("data") != tags.get("data"):
        found.append("data")
    if before.tags.get("code") != tags.get("code"):
        found.append(f"code {tags.get('code', 'unknown')}")
    found += [f"{name} {tags[name]}" for name in _VERSIONS if before.tags.get(name) != tags[name]]
    if not found:
        return "same settings"
    more = len(found) - _MOST_CHANGES
    return ", ".join(found[:_MOST_CHANGES]) + (f" and {more} more" if more > 0 else "")


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One phrase for each parameter that is not what it was."""
    found = []
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name), now.get(name)
        if old != new:
            short = all(len(value or "") <= _LONGEST_VALUE for value in (old, new))
            found.append(f"{name} {old or 'unset'} → {new or 'unset'}" if short else name)
    return found
