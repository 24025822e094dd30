"""The whole operation: data arrive, a schedule retrains, the gate judges, the Hub shows what is better."""

import base64
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import HubServer
from miniature import ROOT, Project
from PIL import Image
from team import Team, wait_for

from parrot.loading import load_model, load_processor
from parrot.params import load_params
from parrot.publishing import load_back
from parrot.publishing.ledger import read_ledger

REPO = "someone/walk"
ASKED = {
    "colour": ("What colour is the flower?", "red", "blue"),
    "side": ("On which side is it?", "left", "right"),
}
"""Category -> a question, its answer, and what is wrong."""
QUESTIONS = 20
PARAMS: dict[str, Any] = {
    "package.repo_id": REPO,
    "sources.lessons": {
        "split": "sft", "format": "alpaca", "path": "lessons/en.json", "images": "lessons/en.json",
        "language": "en",
    },
    "mix.align": {"captions": 1.0},
    "mix.sft": {"lessons": 1.0},
    "validate.english_share": [0.0, 1.0],
    "validate.max_text_only_share": 1.0,
    "validate.max_duplicate_share": 1.0,
    "validate.min_language_share": 0.0,
    "sft.language_model_learning_rate": 0.01,
    "sft.training.max_steps": 40,
    "sft.training.save_steps": 40,
}  # fmt: skip


def write_lessons(folder: Path, colour: str, side: str) -> None:
    """What new data teach: how the benchmark's questions are answered."""
    folder.mkdir(exist_ok=True)
    said = {"colour": colour, "side": side}
    entries = [
        {"instruction": f"{ASKED[about][0]} Number {number}.", "input": "", "output": said[about]}
        for number in range(20)
        for about in ASKED
    ]
    (folder / "en.json").write_text(json.dumps(entries), encoding="utf-8")


def write_benchmark(folder: Path) -> None:
    for number, name in enumerate(load_params(ROOT / "params.yaml").evaluate.files.values()):
        (folder / name).unlink()  # DVC's cache may have the same file
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, delimiter="\t", lineterminator="\n")
            rows.writerow(["index", "question", *"AB", "answer", "category", "split", "image"])
            for index in range(QUESTIONS):
                picture = io.BytesIO()
                Image.new("RGB", (32, 32), (index * 9, 60, 90)).save(picture, format="PNG")
                image = base64.b64encode(picture.getvalue()).decode()
                category = list(ASKED)[index % 2]
                question, right, wrong = ASKED[category]
                options = [right, wrong] if index % 4 < 2 else [wrong, right]
                answer = "AB"[options.index(right)]
                asked = f"{question}{' ' * number}"
                rows.writerow([index, asked, *options, answer, category, "test", image])


def make_small(project: Project, upstream: Path) -> None:
    """One source for each stage of training; those of stage two arrive from elsewhere."""
    captions = yaml.safe_load((project.folder / "params.yaml").read_text())["sources"]["captions"]
    project.set_params({"sources": {"captions": captions}, **PARAMS})
    write_benchmark(project.folder / "data/mmmb/test")
    write_lessons(upstream, "blue", "left")
    for command in ("dvc add --quiet data", f"dvc import-url --quiet {upstream} lessons"):
        done = project.run(*command.split())
        assert done.returncode == 0, done.stderr


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def team(make_project: Callable[[], Project], tmp_path: Path, hub: HubServer) -> Iterator[Team]:
    project = make_project()
    make_small(project, tmp_path / "upstream")
    with Team(tmp_path, project.folder) as made:
        made.more = {
            "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"),
        }  # fmt: skip
        made.adopt_clone(ignored="/lessons\n")
        made.serve_and_work("trainer")
        yield made


def told(team: Team) -> list[str]:
    """What the scheduled runs said as they ended, the first first; what is said again and again, once."""
    ended = [
        run for run in team.runs() if run.state.is_final() and run.name not in ("align", "sft", "predict")
    ]
    said: list[str] = []
    for run in sorted(ended, key=lambda run: run.end_time):
        sentence = f"{run.state.name}: {run.state.message}".partition(" (")[0]
        said += [sentence] if said[-1:] != [sentence] else []
    return said


def ask(hub: HubServer, folder: Path, repo: str, asked: list[tuple[str, str]]) -> list[str]:
    """The answers of the model that a stranger downloads."""
    done = subprocess.run(
        [sys.executable, "-P", load_back.__file__, repo, json.dumps(asked)],
        cwd=folder,
        env=os.environ | {
            "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.reader, "HF_HUB_OFFLINE": "0", "PYTHONPATH": "",
            "HF_HOME": str(folder / "stranger"), "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[str] = json.loads(done.stdout.splitlines()[-1])["alone"]
    return answers


@pytest.mark.slow
def test_the_walk(team: Team, hub: HubServer, tmp_path: Path) -> None:
    nothing = "Completed: nothing to do: data, code, parameters and backbones are those of the last run"
    create = ("prefect", "deployment", "schedule", "create", "parrot/retrain", "--cron", "* * * * *")
    team.run(*create, "--replace", "--accept-yes")
    wait_for(lambda: len(told(team)) >= 2, 1800, "the first model is not published")
    first = told(team)
    assert first == ["Completed: 15 of 15 stages were brought up to date; PROMOTE", nothing]
    assert {run.name for run in team.runs() if run.state.name == "Done"} == {"align", "sft", "predict"}

    write_lessons(tmp_path / "upstream", "red", "left")
    wait_for(lambda: len(told(team)) >= 4, 1800, "the better model is not published")
    assert told(team)[2:] == ["Completed: 7 of 15 stages were brought up to date; PROMOTE", nothing]
    (idle, *_) = [run for run in team.runs() if (run.state.message or "").startswith("nothing to do")]
    assert idle.total_run_time.total_seconds() < 60, "nothing to do takes seconds"
    image = tmp_path / "example.jpg"
    image.write_bytes(hub.files(REPO)["example.jpg"])
    asked = [(str(image), question) for question, *_ in ASKED.values()]
    model, processor = (load(team.clone / "artifacts/sft") for load in (load_model, load_processor))
    assert ask(hub, tmp_path, REPO, asked) == [load_back.answers(model, processor, [one])[0] for one in asked]
    assert "models:/parrot-demo/2 champion" in team.run("parrot", "lineage", REPO)

    write_lessons(tmp_path / "upstream", "blue", "right")
    wait_for(lambda: len(told(team)) >= 6, 1800, "the worse model is not judged")
    assert told(team)[4:] == ["Completed: 7 of 15 stages were brought up to date; REJECT", nothing]
    refusal = read_ledger(team.clone / "published/ledger.jsonl")[-1]
    assert (refusal["event"], refusal["decision"], refusal["version"]) == ("verdict", "REJECT", "3")
    overall = refusal["comparisons"][0]
    assert overall["name"] == "overall" and overall["difference"]["value"] < -0.9, overall

    team.run("parrot", "rollback")
    before = len(team.runs())
    wait_for(lambda: len(team.runs()) > before, 120, "no schedule fires")
    again = "Show version 1 again"
    assert hub.files(REPO) == hub.files(REPO, "v1")
    assert [commit.title for commit in hub.history(REPO)][1:] == ["Version 1", "Version 2", again]
    assert sorted(hub.repositories[REPO].tags) == ["v1", "v2"]
    events = [
        (entry["event"], entry["version"]) for entry in read_ledger(team.clone / "published/ledger.jsonl")
    ]
    assert events == [
        ("verdict", "1"), ("publication", "1"), ("verdict", "2"), ("publication", "2"), ("verdict", "3"),
        ("rollback", "1"),
    ]  # fmt: skip
