"""The whole pipeline in miniature, made once for all tests that ask for it."""

import shutil
from collections.abc import Callable

import pytest
from miniature import ROOT, TINY, Project


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """Make a fresh project; the tiny world is drawn once."""
    template = tmp_path_factory.mktemp("template")
    for name in ("dvc.yaml", "params.yaml", "LICENSE", ".dvcignore"):
        shutil.copy(ROOT / name, template / name)
    for name in ("parrot", "examples", "flows"):
        ignored = shutil.ignore_patterns("__pycache__", "dvc.lock")
        shutil.copytree(ROOT / name, template / name, ignore=ignored)
    project = Project(template)
    for file, changes in TINY.items():
        project.set_params(changes, file)
    made = project.run("python", "-m", "examples.picture_world", "data")
    assert made.returncode == 0, made.stderr
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
