"""A miniature of the project in a folder of its own: the real graph, a tiny world, seconds of training."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]

PARAMS, WORLD_PARAMS = "params.yaml", "examples/picture_world/params.yaml"
TINY: dict[str, dict[str, Any]] = {
    PARAMS: {
        "threads": 1,
        "prepare.partition_records": 50,
        "validate.min_records": 20,
        "model.max_length": 1024,
        "align.training.max_steps": 4,
        "align.training.batch_size": 4,
        "align.training.launch.processes": 1,
        "align.training.logging_steps": 1,
        "sft.training.max_steps": 4,
        "sft.training.batch_size": 4,
        "sft.training.launch.processes": 1,
        "sft.training.logging_steps": 1,
        "sft.moe.intermediate_size": 8,
    },
    WORLD_PARAMS: {
        "world.backbone_pictures": 80,
        "world.reading_documents": 120,
        "world.align_captions": 60,
        "world.align_questions": 40,
        "world.sft_pictures": 120,
        "world.text_instructions": 8,
        "world.questions_per_category": 1,
        "vision.hidden_size": 32,
        "vision.intermediate_size": 64,
        "vision.num_hidden_layers": 1,
        "vision.training.max_steps": 4,
        "vision.training.batch_size": 8,
        "language.vocab_size": 400,
        "language.hidden_size": 32,
        "language.intermediate_size": 64,
        "language.training.max_steps": 4,
        "language.training.batch_size": 2,
        "language.letters.max_steps": 2,
    },
}
LOCKS = ("dvc.lock", "examples/picture_world/dvc.lock")


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
            "PYTHONPATH": str(self.folder),  # the code that DVC sees
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
        """What the stages had read and made, those of the example among them."""
        files = [yaml.safe_load((self.folder / lock).read_text(encoding="utf-8")) for lock in LOCKS]
        return {name: stage for file in files for name, stage in file["stages"].items()}

    def set_params(self, changes: dict[str, Any], file: str = PARAMS) -> None:
        set_params(self.folder / file, changes)
