"""A miniature of the project in a folder of its own: the real graph, a tiny world, seconds of training."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.picture_world.world.write_world import write_world
from parrot.params import load_params

ROOT = Path(__file__).parents[2]

TINY: dict[str, Any] = {
    "threads": 1,
    "world.backbone_pictures": 80,
    "world.reading_documents": 120,
    "world.align_captions": 60,
    "world.align_questions": 40,
    "world.sft_pictures": 120,
    "world.text_instructions": 8,
    "world.questions_per_category": 1,
    "validate.min_records": 20,
    "backbones.vision.hidden_size": 32,
    "backbones.vision.intermediate_size": 64,
    "backbones.vision.num_hidden_layers": 1,
    "backbones.vision.training.max_steps": 4,
    "backbones.vision.training.batch_size": 8,
    "backbones.language.vocab_size": 400,
    "backbones.language.hidden_size": 32,
    "backbones.language.intermediate_size": 64,
    "backbones.language.num_hidden_layers": 1,
    "backbones.language.training.max_steps": 4,
    "backbones.language.training.batch_size": 4,
    "model.max_length": 1024,
    "align.training.max_steps": 4,
    "align.training.batch_size": 4,
    "align.training.logging_steps": 1,
    "sft.training.max_steps": 4,
    "sft.training.batch_size": 4,
    "sft.training.logging_steps": 1,
    "sft.moe.intermediate_size": 8,
}


def set_params(file: Path, changes: dict[str, Any]) -> None:
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    for key, value in changes.items():
        *parents, last = key.split(".")
        section = tree
        for part in parents:
            section = section[part]
        section[last] = value
    file.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), encoding="utf-8")


class Project:
    """A folder with the pipeline in it, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        bin_folder = str(Path(sys.executable).parent)
        return os.environ | {
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}",
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def repro(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("dvc", "repro", *arguments)

    def lock(self) -> dict[str, Any]:
        return yaml.safe_load((self.folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]

    def set_params(self, changes: dict[str, Any]) -> None:
        set_params(self.folder / "params.yaml", changes)


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """Make a fresh project; the tiny world is drawn once."""
    template = tmp_path_factory.mktemp("template")
    for name in ("dvc.yaml", "params.yaml", "LICENSE"):
        shutil.copy(ROOT / name, template / name)
    code = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "parrot", template / "parrot", ignore=code)
    shutil.copytree(ROOT / "flows", template / "flows", ignore=code)
    shutil.copy(ROOT / ".dvcignore", template / ".dvcignore")
    set_params(template / "params.yaml", TINY)
    write_world(load_params(template / "params.yaml").world, template / "data")
    project = Project(template)
    assert project.run("dvc", "init", "--no-scm", "--quiet").returncode == 0
    assert project.run("dvc", "config", "core.analytics", "false").returncode == 0
    added = project.run("dvc", "add", "--quiet", "data")
    assert added.returncode == 0, added.stderr

    def make() -> Project:
        folder = tmp_path_factory.mktemp("project") / "parrot"
        shutil.copytree(template, folder, symlinks=True)
        return Project(folder)

    return make


@pytest.fixture(scope="session")
def finished(make_project: Callable[[], Project]) -> Project:
    """A project whose pipeline has run once; tests that change it put it back."""
    project = make_project()
    done = project.repro()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return project
