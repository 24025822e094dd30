"""A Hub of its own for each test that asks for one, packages, and processes that publish them."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import HubServer, without_xet
from places import CARD, NUMBERED, REPO, ROOT, Make, Place, environment, in_folder, on_hub

from parrot.publishing.folder_target import FolderTarget

PROGRAM = """
import sys
from pathlib import Path
from parrot.params import load_params
from parrot.publishing.publish import publish, target_of
from parrot.stage import sentences

with sentences("parrot publish"):
    done = publish(Path(sys.argv[1]), target_of(load_params()), version=sys.argv[2])
    print(f"{done.name}: version {done.version} ({done.placed.revision})")
"""
"""What `parrot publish` does once the gate has decided."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    without_xet(monkeypatch)
    with HubServer() as server:
        yield server


@pytest.fixture
def package(tmp_path: Path) -> Make:
    """`package(number)`: weights, code, card and the rest of a model; each file tells its number."""

    def make(number: int, more: dict[str, bytes] | None = None) -> Path:
        folder = tmp_path / f"package-{number}"
        files = {
            **{name: b"%s, number %d\n" % (name.encode(), number) for name in NUMBERED},
            "README.md": CARD + b"Its number %d\n" % number,
            ".eval_results/a.yaml": b"- dataset: {id: a/b, task_id: c}\n  value: 0.5\n",
            "tokenizer.json": b"{}",
        }
        for name, content in {**files, **(more or {})}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    return make


@pytest.fixture(params=["hub", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        folder = tmp_path / "published/parrot"
        return Place(FolderTarget(folder), lambda version="current": in_folder(folder / version))
    hub = request.getfixturevalue("hub")
    return Place(on_hub(hub), lambda version=None: hub.files(REPO, f"v{version}" if version else "main"))


@pytest.fixture
def started(tmp_path: Path, hub: HubServer) -> Callable[[Path, str], subprocess.Popen[str]]:
    """Starts to publish a package as a version, in a folder whose params.yaml names the repository."""
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(re.sub(r"(?m)^  repo_id:", f"  repo_id: {REPO}", params))

    def start(package: Path, version: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(package), version],
            cwd=tmp_path,
            env=environment(hub, tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
