import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from parrot.errors import ParrotError
from parrot.pipeline.graph import GraphStage, display_name, read_by, read_graph, remaining_minutes

ROOT = Path(__file__).parents[2]

STAGES = (
    "last: {cmd: cat left right > last, deps: [left, right], outs: [last], meta: {minutes: 2}}",
    "left: {cmd: cp first left, deps: [first], outs: [left], meta: {minutes: 3}}",
    "right: {cmd: cp first right, deps: [first], outs: [right]}",
    "first: {cmd: cp source first, deps: [source], outs: [first]}",
)


def test_stages_come_after_what_they_need(project) -> None:
    project(*STAGES)
    stages = read_graph()
    assert list(stages) == ["first", "left", "right", "last"]
    assert stages["last"].needs == {"left", "right"}
    assert stages["left"].minutes == 3


def test_of_those_that_could_run_the_one_on_which_most_time_hangs_is_first(project) -> None:
    project(
        "quick: {cmd: cp source quick, deps: [source], outs: [quick]}",
        "slow: {cmd: cp source slow, deps: [source], outs: [slow], meta: {minutes: 6}}",
        "last: {cmd: cat quick slow > last, deps: [quick, slow], outs: [last]}",
    )
    assert list(read_graph()) == ["slow", "quick", "last"]


def test_stages_alone_take_what_they_need_as_it_is(project) -> None:
    project(*STAGES)
    stages = read_graph(["last", "left"], alone=True)
    assert [(stage.name, sorted(stage.needs)) for stage in stages.values()] == [
        ("left", []),
        ("last", ["left"]),
    ]


def test_each_stage_says_why_it_runs(project) -> None:
    folder: Path = project(
        "first: {cmd: cp source first, deps: [source], outs: [first], params: [a, b]}",
        "last: {cmd: cp first last, deps: [first], outs: [last], "
        "meta: {worker: gpu, timeout_minutes: 5}, metrics: [numbers.json: {cache: false}]}",
    )
    (folder / "params.yaml").write_text("{a: 1, b: 2}")
    (folder / "numbers.json").write_text("{}")
    stages = read_graph()
    assert [stage.why for stage in stages.values()] == ["never run", "never run"]
    assert (stages["last"].worker, stages["last"].timeout_minutes) == ("gpu", 5)
    assert stages["last"].shown == ("numbers.json",)
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet", "first"], check=True)
    assert [stage.why for stage in read_graph(["first"]).values()] == [""]
    assert [stage.why for stage in read_graph(["first"], anyway="asked for").values()] == ["asked for"]
    (folder / "params.yaml").write_text("{a: 1, b: 3}")
    (folder / "first").unlink()
    assert [stage.why for stage in read_graph(["first"]).values()] == ["b, first deleted"]


def test_a_time_out_may_be_a_parameter_and_no_stage_depends_on_it(project) -> None:
    folder: Path = project(
        "only: {cmd: cp source only, deps: [source], outs: [only], "
        "meta: {timeout_minutes: '${speed.timeout_minutes}'}}"
    )
    (folder / "params.yaml").write_text("speed: {timeout_minutes: 5}")
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], check=True)
    (folder / "params.yaml").write_text("speed: {timeout_minutes: 7.5}")
    (stage,) = read_graph().values()
    assert (stage.timeout_minutes, stage.why) == (7.5, "")


@pytest.mark.parametrize("file", ["dvc.yaml", "examples/picture_world/dvc.yaml"])
def test_every_stage_has_a_time_out(file: str) -> None:
    stages = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["stages"]
    bodies = {name: stage.get("do", stage) for name, stage in stages.items()}
    assert [name for name, body in bodies.items() if "timeout_minutes" not in body["meta"]] == []


TWO_FILES = (
    "prepare: {foreach: {a: {file: source}, b: {file: source}}, do: {cmd: 'cp ${item.file} prepared-${key}', "
    "params: ['sources.${key}'], deps: ['${item.file}'], outs: ['prepared-${key}']}}",
    "train: {cmd: cat prepared-a made > train, deps: [prepared-a, made, parrot/training], outs: [train]}",
)
EXAMPLE = """
stages:
  make:
    wdir: ../..
    cmd: cp source made
    deps: [source, examples/toy/code]
    params: [seed, examples/toy/params.yaml: [vision]]
    outs: [made]
  aside: {wdir: ../.., cmd: cp source aside, deps: [source], outs: [aside]}
"""


@pytest.fixture
def two_files(project) -> Path:
    """A graph in two files with stages of a `foreach`; one stage of the example is needed, one is not."""
    folder: Path = project(*TWO_FILES)
    (folder / "examples/toy/code").mkdir(parents=True)
    (folder / "examples/toy/code/make.py").touch()
    (folder / "examples/toy/dvc.yaml").write_text(EXAMPLE)
    (folder / "examples/toy/params.yaml").write_text("vision: {size: 4}\nworld: 1\n")
    (folder / "parrot/training").mkdir(parents=True)
    (folder / "parrot/training/train.py").touch()
    (folder / "params.yaml").write_text("seed: 1\nsources: {a: {path: source}, b: {path: source}}\n")
    return folder


def test_without_targets_the_graph_is_what_dvc_repro_runs(two_files: Path) -> None:
    """Of another folder's stages those that are needed, and no others."""
    stages = read_graph()
    assert set(stages) == {"prepare@a", "prepare@b", "train", "examples/toy/dvc.yaml:make"}
    assert stages["train"].needs == {"prepare@a", "examples/toy/dvc.yaml:make"}
    command = [sys.executable, "-m", "dvc", "repro", "--dry", "--force"]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    would_run = {line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")}
    assert would_run == set(stages)


@pytest.mark.parametrize(
    ("target", "stages"),
    [
        ("prepare", ["prepare@a", "prepare@b"]),
        ("prepare@b", ["prepare@b"]),
        ("toy:aside", ["examples/toy/dvc.yaml:aside"]),
        ("examples/toy/dvc.yaml:aside", ["examples/toy/dvc.yaml:aside"]),
    ],
)
def test_a_target_may_be_short_and_stand_for_several(two_files: Path, target: str, stages: list[str]) -> None:
    assert list(read_graph([target])) == stages


def test_people_read_a_short_name() -> None:
    assert display_name("prepare@captions") == "prepare@captions"
    assert display_name("examples/picture_world/dvc.yaml:vision") == "picture_world:vision"


def test_what_a_stage_depends_on_comes_from_dvc(two_files: Path) -> None:
    reads = read_by("prepare@b")
    assert (reads.params, reads.inputs, reads.code) == (
        {"sources.b": {"path": "source"}},
        [Path("source")],
        [],
    )
    reads = read_by("examples/toy/dvc.yaml:make")
    assert reads.params == {"seed": 1, "vision": {"size": 4}}
    assert (reads.inputs, reads.code) == ([Path("source")], [Path("examples/toy/code")])
    with pytest.raises(ParrotError, match=r"^dvc.yaml: .*nope"):
        read_by("nope")


@pytest.mark.parametrize("folder", [".", "examples/toy"])
def test_a_stage_finds_its_address_wherever_dvc_was_started(two_files: Path, folder: str) -> None:
    ask = "from parrot.pipeline.graph import stage_address; print(stage_address())"
    example = (two_files / "examples/toy/dvc.yaml").read_text()
    (two_files / "ask.py").write_text(ask)
    (two_files / "examples/toy/dvc.yaml").write_text(
        example.replace("cmd: cp source made", f"cmd: {sys.executable} ask.py > address; cp source made")
    )
    target = "examples/toy/dvc.yaml:make" if folder == "." else "make"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dvc", "repro", target]
    done = subprocess.run(command, cwd=two_files / folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (two_files / "address").read_text().strip() == "examples/toy/dvc.yaml:make"


def test_a_target_brings_what_it_needs_and_no_more(project) -> None:
    project(*STAGES)
    assert list(read_graph(["left"])) == ["first", "left"]


def test_tracked_data_is_no_stage(project) -> None:
    folder: Path = project(*STAGES)
    (folder / "source.dvc").write_text("outs:\n- path: source\n  hash: md5\n")
    assert "source.dvc" not in read_graph()


@pytest.mark.parametrize(
    ("stages", "targets", "sentence"),
    [
        (STAGES, ["nope"], "no stage 'nope'; its stages are last, left, right, first"),
        (("bad: {outs: [x]}",), [], "dvc.yaml"),
    ],
)
def test_what_is_wrong_is_one_sentence(project, stages, targets, sentence) -> None:
    project(*stages)
    with pytest.raises(ParrotError, match=sentence):
        read_graph(targets)


def test_outside_a_project_the_user_is_sent_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParrotError, match="project's top folder"):
        read_graph()


def test_remaining_time_counts_what_runs_side_by_side_once() -> None:
    stages = {
        "first": GraphStage("first", frozenset(), 1),
        "left": GraphStage("left", frozenset({"first"}), 4),
        "right": GraphStage("right", frozenset({"first"}), 3),
        "last": GraphStage("last", frozenset({"left", "right"}), 2),
    }
    assert remaining_minutes(stages, [], {}, parallel=2, pace=1) == 7
    assert remaining_minutes(stages, [], {}, parallel=1, pace=1) == 10
    assert remaining_minutes(stages, ["first"], {"left": 1, "right": 1}, parallel=2, pace=2) == 11
    assert remaining_minutes(stages, stages, {}, parallel=2, pace=1) == 0
