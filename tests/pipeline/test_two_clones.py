"""The real chain in miniature: one clone runs the pipeline, a worker in another trains and predicts."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from miniature import ROOT, Project
from team import Team, wait_for

ON_WORKERS = {"align", "sft", "predict"}
NAMES_THE_COMMIT = {"provenance.json", "lineage.json", "README.md"}


@pytest.fixture(scope="module")
def team(make_project: Callable[[], Project], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    project = make_project()
    with Team(tmp_path_factory.mktemp("team"), project.folder) as made:
        shutil.copytree(ROOT / "conf", project.folder / "conf")
        made.adopt_clone()
        made.serve_and_work("trainer")
        yield made


def sent(team: Team) -> list[str]:
    """The stages that were sent to workers and have ended there, the first first."""
    runs = [run for run in team.runs() if run.name in ON_WORKERS and run.state.name == "Done"]
    return [run.name for run in reversed(runs)]


def made(folder: Path) -> dict[str, bytes]:
    """What the stages have made, but for what names the commit: one of the projects is in no repository."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for top in ("artifacts", "metrics", "plots")
        for file in (folder / top).rglob("*")
        if file.is_file() and file.name not in NAMES_THE_COMMIT
    }


@pytest.mark.slow
def test_two_clones_make_what_one_makes(team: Team, finished: Project) -> None:
    team.run(sys.executable, "-m", "flows.pipeline", "--no-publish")
    assert sent(team) == ["align", "sft", "predict"]
    project = Project(team.clone)
    ours, theirs = made(team.clone), made(finished.folder)
    assert set(ours) == set(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == [], (
        "the same bytes, wherever they were made"
    )
    trainer = team.folder / "trainer"
    assert (trainer / "artifacts/sft").is_dir()
    assert not (trainer / "artifacts/package").exists(), "a worker holds what its stages need"
    assert not (trainer / "data/conversations").exists()

    said = team.run(sys.executable, "-m", "flows.pipeline", "--no-publish")
    assert "nothing to do: data, code, parameters and backbones are those of the last run" in said

    before = Path(team.clone / "params.yaml").read_text(encoding="utf-8")
    run = team.submit("parrot/manual", "publish=false", 'overrides=["sft.learning_rate=0.002"]')
    wait_for(lambda: team.state(run).is_final(), 3600, "the run does not end")
    assert team.state(run).message == "4 of 17 stages were brought up to date"
    assert sent(team) == ["align", "sft", "predict", "sft", "predict"]
    assert project.lock()["sft"]["params"]["params.yaml"]["sft"]["learning_rate"] == 0.002
    assert Path(team.clone / "params.yaml").read_text(encoding="utf-8") == before
