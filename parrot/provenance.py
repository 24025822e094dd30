"""What made an artifact: written into it by the stage that makes it, read by whoever says where it is from.

A stage whose inputs are unchanged does not run again: its artifact comes from the cache, and with it the
commit that made it, whichever commit is checked out meanwhile.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from parrot.errors import ParrotError
from parrot.files import write_json
from parrot.lineage import run_tags

FILE = "provenance.json"
_TAGS = {
    "mlflow.source.git.commit": "commit",
    "git.dirty": "uncommitted_changes",
    "data": "data",
    "python": "python",
    "torch": "torch",
    "transformers": "transformers",
}
"""Of `run_tags`: what is the same for the same commit on the same machine."""


def provenance(*, seed: int, **params: BaseModel) -> dict[str, Any]:
    """Commit, data, libraries, seed and parameters as they are now: to be called when a stage begins."""
    tags = run_tags()
    made_by: dict[str, Any] = {name: tags[tag] for tag, name in _TAGS.items() if tag in tags}
    return made_by | {
        "seed": seed,
        "params": {name: choices.model_dump() for name, choices in params.items()},
    }


def write_provenance(folder: Path, made_by: dict[str, Any]) -> None:
    """Put it into an artifact."""
    write_json(folder / FILE, made_by)


def read_provenance(folder: Path) -> dict[str, Any]:
    """Of an artifact; empty if whoever made it did not say.

    Raises:
        ParrotError: the file is broken.
    """
    file = folder / FILE
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ParrotError(f"{file}: not JSON ({error}); make the artifact anew") from None
    return content


__all__ = ["FILE", "provenance", "read_provenance", "write_provenance"]
