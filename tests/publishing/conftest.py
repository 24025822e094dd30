"""For tests that ask: a Hub, packages and the processes that publish them, a registry in memory."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hub_server import HubServer, without_xet
from places import CARD, NUMBERED, REPO, ROOT, Make, Place, environment, in_folder, on_hub
from stand_ins import Killed, World, train
from written_evaluations import right_in, write_evaluation

from parrot.config import Params
from parrot.params import load_params
from parrot.publishing import release as module
from parrot.publishing.folder_target import FolderTarget
from parrot.publishing.ledger import append
from parrot.publishing.release import release

MODELS = {
    "w1": right_in(0.70, seed=1),
    "w2": right_in(0.80, seed=2),
    "w3": right_in(0.90, seed=3),
    "worse": right_in(0.60, seed=4),
    "like w1": right_in(0.70, seed=5),
}
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


@pytest.fixture(scope="session")
def evaluations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("evaluations")
    return {
        name: write_evaluation(folder / name, hit, weights=name, questions=150)
        for name, hit in MODELS.items()
    }


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Those of the project, in a folder of its own."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return load_params()


@pytest.fixture
def world(evaluations: dict[str, Path], params: Params, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(evaluations=dict(evaluations))
    monkeypatch.setattr("parrot.tracking.registry", world, raising=False)
    names = ("publish", "retag", "target_of", "next_version", "would_send")
    stand_in = SimpleNamespace(**{name: getattr(world, name) for name in names})
    monkeypatch.setitem(sys.modules, "parrot.publishing.publish", stand_in)
    monkeypatch.setattr(module, "attach", world.attach)
    monkeypatch.setattr(module, "append", partial(append_in_steps, world))
    monkeypatch.setattr(module, "_check_up_to_date", lambda: None)
    monkeypatch.setattr(module, "dvc_hashes", lambda *args: {"artifacts/sft": world.trained})
    return world


@pytest.fixture(params=[7, 8, 9, 10])
def half_released(request: pytest.FixtureRequest, world: World, params: Params) -> World:
    """The release of w2 was killed, at one of several steps, once it was shown and w1 still the champion."""
    train(world, "w1")
    release(params)
    train(world, "w2")
    world.dies_at = request.param
    with pytest.raises(Killed):
        release(params)
    world.dies_at = None
    assert (world.current, world.aliases["champion"]) == ("2", "1")
    return world


def append_in_steps(world: World, *told: Any) -> None:
    world.step("ledger")
    append(*told)
    world.step("ledger written")
