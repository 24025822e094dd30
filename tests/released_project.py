"""A project of four small stages, and its releases: DVC's lock, MLflow's registry and a folder, all real."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from written_evaluations import right_in, write_evaluation

from parrot.tracking import registry

NAME = "parrot-demo"
ROOT = Path(__file__).parents[1]


def graph(package: str = "cp -r artifacts/sft artifacts/package") -> str:
    """What is in made/ as models, evaluations and packages.

    Args:
        package: the command that makes artifacts/package.
    """
    return f"""
stages:
  sft: {{cmd: cp -r made/model artifacts/sft, deps: [made/model], outs: [artifacts/sft]}}
  predict:
    cmd: cp -r made/evaluation artifacts/predictions
    deps: [artifacts/sft, made/evaluation]
    outs: [artifacts/predictions]
  evaluate:
    cmd: cp -r artifacts/predictions artifacts/evaluation
    deps: [artifacts/predictions]
    outs: [artifacts/evaluation]
  package:
    cmd: {package}
    deps: [artifacts/sft]
    params: [sources, evaluate, package]
    outs: [artifacts/package]
"""


def make_project() -> None:
    """In the current folder."""
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    Path("dvc.yaml").write_text(graph())
    Path("artifacts").mkdir()
    init = [sys.executable, "-m", "dvc", "init", "-q", "--no-scm"]
    subprocess.run(init, check=True, env=os.environ | {"DVC_NO_ANALYTICS": "1"})


def train(weights: str, share: float, seed: int) -> None:
    """Make and package a model with these weights, a letter, that answers this share of questions right."""
    from dvc.repo import Repo

    shutil.rmtree("made", ignore_errors=True)
    write_evaluation(Path("made/evaluation"), right_in(share, seed), weights=weights)
    model = Path("made/model")
    model.mkdir()
    (model / "model.safetensors").write_text(weights)
    (model / "config.json").write_text("{}")
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    (model / "provenance.json").write_text(json.dumps({"commit": weights * 40}))
    with Repo() as repo:
        repo.reproduce()


def shown() -> str:
    """The version that is published, which is one whole model wherever one looks."""
    champion = registry.champion(NAME)
    assert champion is not None
    current = Path("published", NAME, "current")
    assert current.readlink().name == champion.version
    assert champion.commit == (current / "model.safetensors").read_text() * 40
    return str(champion.version)
