"""How far a mixture has moved from the one of the last commit."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SHARES = {"source_share": "source", "language_share": "language"}
"""In the metrics of the stage."""


def committed_metrics(path: Path) -> dict[str, Any] | None:
    """A file of metrics as the last commit has it; None if there is none, or no git."""
    try:
        shown = subprocess.run(["git", "show", f"HEAD:./{path.name}"], cwd=path.parent, capture_output=True)
        found: dict[str, Any] | None = json.loads(shown.stdout) if shown.returncode == 0 else None
    except (OSError, ValueError):
        return None
    return found


def drift(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[float, str]:
    """The largest change of a source's or a language's share, and in words which it is."""
    changes = [
        (abs(new - old), f"{what} {name}: {old:.3f} before, {new:.3f} now")
        for shares, what in _SHARES.items()
        if shares in before
        for name in sorted(before[shares].keys() | now[shares].keys())
        for old, new in [(before[shares].get(name, 0.0), now[shares].get(name, 0.0))]
    ]
    return max(changes, default=(0.0, "nothing to compare"))
