"""Where the tests publish, and what is seen there."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hub_repositories import Commit
from hub_server import HubServer
from huggingface_hub import HfApi

from parrot.config import Publish
from parrot.params import load_params
from parrot.publishing.hub_target import HubTarget
from parrot.publishing.target import Target

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT / "params.yaml")
REPO = "someone/parrot"
CARD = b"---\nlanguage:\n- en\nlicense: apache-2.0\n---\n\n# A model\n\n"
NUMBERED = ("README.md", "config.json", "code.py", "model-1.safetensors", "model-2.safetensors")

Make = Callable[..., Path]


class Place(NamedTuple):
    target: Target
    look: Callable[..., dict[str, bytes]]
    """`look(version)`: what is downloaded, without one what is shown."""


def on_hub(hub: HubServer, **settings: Any) -> HubTarget:
    chosen = Publish.model_validate(PARAMS.publish.model_dump() | settings)
    return HubTarget(REPO, chosen, HfApi(hub.endpoint, token=hub.token), waits=(0.01, 0.01, 0.01))


def in_folder(place: Path) -> dict[str, bytes]:
    files = (file for file in place.rglob("*") if file.is_file())
    return {file.relative_to(place).as_posix(): file.read_bytes() for file in files}


def number_of(files: dict[str, bytes]) -> int:
    """Of the one model that all these files are of."""
    told = {int(found[1]) for name in NUMBERED if (found := re.search(rb"number (\d)", files[name]))}
    assert len(told) == 1, files
    return told.pop()


def numbers(history: list[Commit]) -> list[int | None]:
    """What `main` ever showed: no model (None), or always one alone."""
    return [number_of(commit.tree) if len(commit.tree) > 1 else None for commit in history]


def environment(hub: HubServer, folder: Path) -> dict[str, str]:
    """Of a process that knows no other Hub, and has downloaded nothing yet."""
    return os.environ | {
        "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
