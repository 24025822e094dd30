from pathlib import Path

import pytest

from parrot.errors import ParrotError
from parrot.pipeline.graph import GraphStage, read_graph, remaining_minutes

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
