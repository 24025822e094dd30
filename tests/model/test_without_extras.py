"""Who only uses a model installs no extra: chat, convert and score work where none of theirs is there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from model_cases import Build
from PIL import Image

from parrot.model.registered import ParrotProcessor

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {missing!r} else super().find_spec(name, path, target)

sys.path.insert(0, {root!r})
sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
from parrot.cli import main

for command in {commands!r}:
    try:
        main(command)
    except SystemExit as end:
        if end.code:
            raise
"""


def extras() -> set[str]:
    """What the extras for training and the pipeline install, as it is imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    names = [re.split(r"[<>=;\[ ]", line)[0] for line in optional["train"] + optional["pipeline"]]
    return {name.partition(".")[0].replace("-", "_") for name in names} - {"parrot_vlm"}


def parrot(*commands: list[str], folder: Path) -> str:
    """What these print, one after the other, in a Python where none of the extras can be imported."""
    script = SCRIPT.format(missing=sorted(extras()), root=str(ROOT), commands=commands)
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(build: Build, processor: ParrotProcessor, tmp_path: Path) -> Path:
    build().save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "red.png")
    return tmp_path


def test_the_extras_are_what_a_user_of_a_model_does_not_need() -> None:
    heavy = {
        "deepspeed",
        "prefect",
        "dvc",
        "great_expectations",
        "pandera",
        "mlflow",
        "psutil",
        "accelerate",
        "peft",
    }
    assert heavy <= extras()


def test_chat_and_convert_need_none_of_them(folder: Path) -> None:
    printed = parrot(
        ["chat", "--help"],
        ["chat", "--model", "model", "--image", "red.png", "--prompt", "What?", "--max-new-tokens", "3"],
        ["convert", "--to-original", "model", "original"],
        ["convert", "original", "again"],
        folder=folder,
    )
    assert "usage: parrot chat" in printed
    assert (folder / "again" / "model.safetensors").is_file()


def test_help_needs_none_of_them(tmp_path: Path) -> None:
    commands = ("backbone", "compare", "score")
    printed = parrot(*([name, "--help"] for name in commands), folder=tmp_path)
    assert all(f"usage: parrot {name}" in printed for name in commands)
