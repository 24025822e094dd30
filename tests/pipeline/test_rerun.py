"""What a change reruns, asked of the real graph and parameters; only data and outputs are made up."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo

from parrot.pipeline.graph import read_graph

ROOT = Path(__file__).parents[2]
COPIED = ("dvc.yaml", "params.yaml", "LICENSE", "parrot", "examples", "conf")
STUB = """#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in --output | --metrics | --curve | --plots | --reports | --stamp)
    case $2 in
      *.*) mkdir -p "$(dirname "$2")"; echo '# made' > "$2" ;;
      *) mkdir -p "$2"; echo '# made' > "$2/file" ;;
    esac
  esac
  shift
done
"""
"""In the place of `parrot` and `python`: whatever goes in, the same comes out."""
LAST = ["predict", "evaluate", "package"]
SFT = ["mix@sft", "validate@sft", "sft", *LAST]
BACKBONES = ["examples/picture_world/dvc.yaml:vision", "examples/picture_world/dvc.yaml:language",
             "backbone@vision", "backbone@language"]  # fmt: skip
TRAININGS = [*BACKBONES, "mix@align", "validate@align", "align", *SFT]


def would_rerun(*, force: bool = False) -> list[str]:
    """What `dvc repro --dry --force-downstream` lists: all that runs if all that runs makes something new."""
    with Repo() as repo:
        stages = repo.reproduce(dry=True, force_downstream=True, force=force)
    return sorted(stage.addressing for stage in stages)


def make(path: str) -> None:
    """An input, a folder if its name has no dot; where it is already, it changes."""
    file = Path(path) if "." in Path(path).name else Path(path, "file")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as end:
        end.write("# made\n")


def change_params(change: dict[str, Any]) -> None:
    """Merge `change` into params.yaml."""

    def merge(tree: dict[str, Any], new: dict[str, Any]) -> None:
        for key, value in new.items():
            if isinstance(value, dict) and isinstance(tree.get(key), dict):
                merge(tree[key], value)
            else:
                tree[key] = value

    tree = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    merge(tree, change)
    Path("params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with its graph up to date."""
    folder = tmp_path_factory.mktemp("reproduced") / "project"
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "dvc.lock")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with Repo.init(no_scm=True) as repo:
            files = [file for stage in repo.index.stages for file in (*stage.outs, *stage.deps)]
            for path in sorted({os.path.relpath(file.fs_path) for file in files}, reverse=True):
                if not Path(path).exists():
                    make(path)
            repo.commit(force=True)
    return folder


@pytest.fixture
def project(reproduced: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """It as the current folder, for changes to files that were there; they are taken back."""
    monkeypatch.chdir(reproduced)
    before = {file: file.read_bytes() for file in inputs()}
    yield reproduced
    for file, content in before.items():
        if file.read_bytes() != content:
            file.write_bytes(content)


def inputs() -> list[Path]:
    below = [file for name in ("data", "parrot", "examples") for file in Path(name).rglob("*")]
    return [file for file in (Path("params.yaml"), *below) if file.is_file()]


@pytest.mark.parametrize(
    ("touched", "stages"),
    [
        ("data/conversations/images.zip", ["prepare@conversations", *SFT]),
        ("data/instructions/en.json", ["prepare@instructions", *SFT]),
        ("data/backbones/reading.jsonl", [name for name in TRAININGS if not name.endswith("vision")]),
        ("parrot/training/trainer.py", TRAININGS),
        ("parrot/training/lora.py", ["sft", *LAST]),
        ("parrot/validation/validate.py", ["validate@align", "validate@sft", "align", *SFT[2:]]),
        ("parrot/evaluation/report/page.html", ["evaluate", "package"]),
        ("parrot/publishing/card.py", ["package"]),
        ("parrot/tracking/runs.py", []),
        ("parrot/pipeline/graph.py", []),
        ("parrot/serving/session.py", []),
    ],
)
def test_what_is_touched_reruns_its_readers_alone(project: Path, touched: str, stages: list[str]) -> None:
    assert Path(touched).is_file()
    make(touched)
    assert would_rerun() == sorted(stages)


def test_a_new_page_over_the_same_numbers_makes_no_new_package(reproduced: Path, tmp_path: Path) -> None:
    """DVC itself looks at what evaluate has made: package reads its metrics, and not its page."""
    folder = tmp_path / "project"
    shutil.copytree(reproduced, folder, symlinks=True)
    for name in ("parrot", "python"):
        stub = tmp_path / "bin" / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(STUB)
        stub.chmod(0o755)
    with (folder / "parrot/evaluation/report/page.html").open("a") as page:
        page.write("more")
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "dvc", "repro"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "Running" in line] == ["Running stage 'evaluate':"]


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"speed": {"workers": 4, "inference_batch_size": 8, "inference_processes": 2}}, []),
        ({"sft": {"learning_rate": 0.5}}, ["sft", *LAST]),
        ({"align": {"training": {"max_steps": 5}}}, ["align", "sft", *LAST]),
        ({"mix": {"sft": {"conversations": 2.0}}}, SFT),
        ({"evaluate": {"circular": True}}, LAST),
        ({"package": {"name": "other"}}, ["package"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_parameter_reruns_its_readers_alone(
    project: Path, change: dict[str, Any], stages: list[str]
) -> None:
    change_params(change)
    assert would_rerun() == sorted(stages)


def test_a_new_source_reruns_its_mixture_and_what_follows(project: Path) -> None:
    source = {"split": "sft", "format": "alpaca", "path": "data/more/en.json", "images": "data/more/en.json",
              "language": "en"}  # fmt: skip
    change_params({"sources": {"more": source}, "mix": {"sft": {"more": 1.0}}})
    make("data/more/en.json")
    assert would_rerun() == sorted(["prepare@more", *SFT])


def test_a_profile_of_published_models_needs_nothing_of_the_demo(project: Path) -> None:
    from parrot.profiles import compose

    Path("params.yaml").write_text(compose("parrot-7b"), encoding="utf-8")
    listed = would_rerun(force=True)
    assert {"hub@vision", "hub@language", "backbone@vision", "backbone@language", "align", *SFT} <= set(
        listed
    )
    assert not [name for name in listed if "picture_world" in name]
    assert set(listed) == set(read_graph()), "the flow runs what DVC runs"
    with Repo() as repo:
        deps = [
            dep.def_path for stage in repo.index.stages if stage.addressing in listed for dep in stage.deps
        ]
    demo = ("data/captions", "data/questions", "data/conversations", "data/instructions")
    assert not [path for path in deps if path.startswith(demo)]
