"""`python -m examples.picture_world`: its command for the data, its parameters, its graph."""

import inspect
import os
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from examples.picture_world.__main__ import STAGES, load_stage_sections, main
from examples.picture_world.sections import SECTIONS_FILE, load_picture_world
from parrot.errors import ParrotError

ROOT = Path(__file__).parents[3]
SMALL = {
    "seed": 1, "backbone_pictures": 4, "reading_documents": 6, "align_captions": 6, "align_questions": 6,
    "sft_pictures": 6, "text_instructions": 2, "questions_per_category": 1,
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parameters of the project, of a small world."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path)
    tree = yaml.safe_load((ROOT / SECTIONS_FILE).read_text(encoding="utf-8"))
    SECTIONS_FILE.parent.mkdir(parents=True)
    SECTIONS_FILE.write_text(yaml.safe_dump({**tree, "world": SMALL}))
    return tmp_path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a person types it, the project's code being elsewhere."""
    return subprocess.run(
        [sys.executable, "-m", "examples.picture_world", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def dvc(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True, text=True
    ).stdout


def test_data_are_written_once_and_anew_on_demand(project: Path) -> None:
    done = run("data")
    assert done.returncode == 0, done.stderr
    assert (project / "data/captions/ru.json").is_file()
    assert not (project / "data.dvc").exists()

    (project / "data/README.md").write_text("mine")
    done = run("data")
    assert done.returncode == 1
    assert done.stderr.startswith("python -m examples.picture_world data: data/ is there; with --write")
    assert (project / "data/README.md").read_text() == "mine"

    dvc("init", "--no-scm", "-q")
    done = run("data", "--write")
    assert done.returncode == 0, done.stderr
    assert "data/ made; commit data.dvc" in done.stdout
    assert "picture world" in (project / "data/README.md").read_text()
    meta = yaml.safe_load((project / "data.dvc").read_text())["meta"]
    assert meta == {"make": "python -m examples.picture_world data"}
    assert dvc("status", "--json").strip() == "{}"


def test_the_committed_data_dvc_names_this_command() -> None:
    named = yaml.safe_load((ROOT / "data.dvc").read_text())
    assert named["meta"] == {"make": "python -m examples.picture_world data"}


def test_drawing_needs_no_torch(project: Path) -> None:
    code = (
        "import sys; from examples.picture_world.__main__ import write_data; write_data(replace=False); "
        "print({'torch', 'transformers', 'mlflow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_sections_come_from_both_files(project: Path) -> None:
    params = load_stage_sections()
    own = load_picture_world()
    assert (params.vision, params.language) == (own.vision, own.language)
    assert (params.seed, params.threads, params.speed.inference_processes) == (1, 1, 2)


def test_a_wrong_key_names_the_examples_file(project: Path) -> None:
    tree = yaml.safe_load(SECTIONS_FILE.read_text())
    tree["vision"]["hidden_sizes"] = tree["vision"].pop("hidden_size")
    SECTIONS_FILE.write_text(yaml.safe_dump(tree))
    with pytest.raises(ParrotError, match=rf"{SECTIONS_FILE}: vision.hidden_sizes: .*did you mean"):
        load_stage_sections()


@pytest.mark.parametrize("name", STAGES)
def test_the_graph_gives_each_stage_its_flags(name: str) -> None:
    stage = yaml.safe_load((ROOT / SECTIONS_FILE).with_name("dvc.yaml").read_text())["stages"][name]
    python, _, package, command, *flags = shlex.split(stage["cmd"])
    assert (python, package, command) == ("python", "examples.picture_world", name)
    module, function = STAGES[name].split(":")
    parameters = inspect.signature(getattr(import_module(module), function)).parameters.values()
    wanted = [f"--{p.name}" for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "run"]
    assert sorted(flags[::2]) == sorted(wanted)
    sections = {p.name for p in parameters if p.kind is not p.KEYWORD_ONLY}
    assert sections <= {"seed", name}


def test_help_and_wrong_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "vision Train a small vision tower" in said and "language Train a small language model" in said
    with pytest.raises(SystemExit, match="2"):
        main(["data", "--wrong"])
    assert "unrecognized arguments: --wrong" in capsys.readouterr().err
