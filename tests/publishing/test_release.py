"""From a package to a publication and back, killed at every step."""

import contextlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stand_ins import Killed, World
from written_evaluations import right_in, write_evaluation

from parrot.cli import main
from parrot.config import Params
from parrot.errors import ParrotError
from parrot.params import load_params
from parrot.pipeline.processes import file_lock
from parrot.publishing import release as module
from parrot.publishing.ledger import append, read_ledger
from parrot.publishing.release import EVALUATION, judge, release, rollback

ROOT = Path(__file__).parents[2]
PARAMS_FILE = ROOT / "params.yaml"
LEDGER = Path("published/ledger.jsonl")
MODELS = {
    "w1": right_in(0.70, seed=1),
    "w2": right_in(0.80, seed=2),
    "w3": right_in(0.90, seed=3),
    "worse": right_in(0.60, seed=4),
    "like w1": right_in(0.70, seed=5),
}


@pytest.fixture(scope="session")
def evaluations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("evaluations")
    return {
        name: write_evaluation(folder / name, hit, weights=name, questions=150)
        for name, hit in MODELS.items()
    }


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Those of the project, in a folder of its own."""
    (tmp_path / "params.yaml").write_bytes(PARAMS_FILE.read_bytes())
    monkeypatch.chdir(tmp_path)
    return load_params()


@pytest.fixture
def world(evaluations: dict[str, Path], params: Params, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(evaluations=dict(evaluations))
    monkeypatch.setattr("parrot.tracking.registry", world, raising=False)
    names = ("publish", "retag", "target_of", "next_version", "would_send")
    stand_in = SimpleNamespace(**{name: getattr(world, name) for name in names})
    monkeypatch.setitem(sys.modules, "parrot.publishing.publish", stand_in)
    monkeypatch.setattr(module, "attach", world.attach)
    monkeypatch.setattr(module, "append", partial(append_in_steps, world))
    monkeypatch.setattr(module, "_check_up_to_date", lambda: None)
    monkeypatch.setattr(module, "dvc_hashes", lambda *args: {"artifacts/sft": world.trained})
    return world


def append_in_steps(world: World, *told: Any) -> None:
    world.step("ledger")
    append(*told)
    world.step("ledger written")


def train(world: World, weights: str) -> None:
    """`dvc repro` has made this model."""
    world.trained = weights
    EVALUATION.parent.mkdir(exist_ok=True)
    EVALUATION.unlink(missing_ok=True)
    EVALUATION.symlink_to(world.evaluations[weights])


def events() -> list[tuple[str, str]]:
    return [(entry["event"], entry["version"]) for entry in read_ledger(LEDGER)]


def test_first_better_and_worse(world: World, params: Params) -> None:
    train(world, "w1")
    first = release(params)
    assert first.verdict.decision == "PROMOTE" and first.champion is None and first.is_champion
    train(world, "w2")
    second = release(params)
    assert second.verdict.decision == "PROMOTE"
    assert second.champion == first.version
    assert second.published is not None and second.published.former == "1"
    train(world, "worse")
    third = release(params)
    assert third.verdict.decision == "REJECT" and third.published is None and not third.is_champion
    assert (world.aliases["champion"], world.current, list(world.published)) == ("2", "2", ["1", "2"])
    assert "**PROMOTE**" in world.published["2"] and "| overall | 450 |" in world.published["2"]
    assert world.tags["3", "gate.decision"] == "REJECT"
    assert json.loads(world.attached["run3/gate/verdict.json"])["champion"]["version"] == "2"
    assert events() == [
        ("verdict", "1"), ("publication", "1"), ("verdict", "2"), ("publication", "2"), ("verdict", "3"),
    ]  # fmt: skip
    verdict, publication = read_ledger(LEDGER)[2:4]
    assert publication["replaced"] == {"version": "1", "weights": "w1", "commit": "commit1"}
    assert publication["revision"] == "revision of 2"
    assert verdict["weights"] == "w2" and verdict["comparisons"][0]["name"] == "overall"


def test_once_published_there_is_nothing_to_do(world: World, params: Params) -> None:
    train(world, "w1")
    release(params)
    before, steps = events(), len(world.steps)
    again = release(params)
    assert again.is_champion and again.published is None
    assert again.verdict.reasons == ["version 1 is the champion already"]
    assert events() == before
    assert world.steps[steps:] == ["register"]


def test_what_waits_for_a_person_is_no_champion_yet(world: World, params: Params) -> None:
    train(world, "w1")
    release(params)
    train(world, "w2")
    world.pull_request = "https://hub/parrot/discussions/1"
    for _ in range(2):
        waiting = release(params)
        assert waiting.waits_at == world.pull_request
        assert waiting.published is None and not waiting.is_champion
    assert (world.aliases["champion"], world.current) == ("1", "1")
    world.pull_request = None
    assert release(params).is_champion
    assert events() == [("verdict", "1"), ("publication", "1"), ("verdict", "2"), ("publication", "2")]


def state(world: World) -> dict[str, Any]:
    facts = ("registered", "aliases", "tags", "attached", "published", "current")
    entries = [{**entry, "time": "", "revision": ""} for entry in read_ledger(LEDGER)]
    return {**{name: getattr(world, name) for name in facts}, "ledger": entries}


def test_a_release_killed_at_any_step_is_finished_by_the_next(world: World, params: Params) -> None:
    train(world, "w1")
    release(params)
    train(world, "w2")
    before, ledger = deepcopy(vars(world)), LEDGER.read_bytes()
    world.steps.clear()
    release(params)
    expected, steps = state(world), len(world.steps)
    assert steps == 11
    for step in range(steps):
        vars(world).update(deepcopy(before))
        LEDGER.write_bytes(ledger)
        for _ in range(2):  # the second time another release was killed, too, as many steps behind its start
            world.dies_at = step
            with contextlib.suppress(Killed):
                release(params)
        world.dies_at = None
        release(params)
        assert state(world) == expected, step


def test_two_releases_at_once_wait_for_each_other(world: World, params: Params) -> None:
    train(world, "w1")
    with ThreadPoolExecutor() as pool:
        with file_lock(LEDGER.parent / ".release.lock"):  # as another clone holds it
            waiting = [pool.submit(release, params) for _ in range(2)]
            time.sleep(0.2)
            assert world.steps == []
        done = [one.result() for one in waiting]
    assert sorted(one.published is not None for one in done) == [False, True]
    assert events() == [("verdict", "1"), ("publication", "1")]


def test_a_dry_run_decides_and_changes_nothing(world: World, params: Params) -> None:
    train(world, "w1")
    release(params)
    before, text = state(world), LEDGER.read_bytes()
    world.steps.clear()
    train(world, "w2")
    for done in (release(params, dry_run=True), judge(params, dry_run=True)):
        assert done.verdict.decision == "PROMOTE" and not done.is_champion
    assert world.steps == []
    assert state(world) == before and LEDGER.read_bytes() == text
    train(world, "w1")
    assert release(params, dry_run=True).verdict.reasons == ["version 1 is the champion already"]


def test_a_dry_run_in_a_new_clone_makes_no_folder(world: World, params: Params) -> None:
    train(world, "w1")
    assert release(params, dry_run=True).verdict.decision == "PROMOTE"
    assert not LEDGER.parent.exists()


def test_the_way_back_and_that_it_is_not_undone_by_the_next_retrain(world: World, params: Params) -> None:
    for weights in ("w1", "w2", "w3"):
        train(world, weights)
        release(params)
    assert rollback(params, hold=True).version == "2"
    assert (world.aliases["champion"], world.current) == ("2", "2")
    held = release(params)
    assert held.verdict.decision == "HOLD" and not held.is_champion
    assert "version 3 was taken back; `parrot rollback 3` publishes it again" in held.verdict.reasons
    assert rollback(params, hold=True).version == "1"
    with pytest.raises(ParrotError, match=r"knows no version before; name one \(there: 1, 2, 3\)"):
        rollback(params, hold=True)
    assert rollback(params, "3", hold=True).version == "3"
    assert release(params).is_champion
    assert [entry["version"] for entry in read_ledger(LEDGER) if entry["event"] == "rollback"] == list("213")


def test_what_a_failed_flow_took_back_is_published_by_the_next(world: World, params: Params) -> None:
    for weights in ("w1", "w2"):
        train(world, weights)
        release(params)
    rollback(params)
    assert release(params).is_champion
    assert [event for event, _ in events()] == [
        "verdict", "publication", "verdict", "publication", "rollback", "verdict", "publication",
    ]  # fmt: skip


@pytest.mark.parametrize("step", range(4))
def test_a_way_back_killed_at_any_step_goes_one_version_back_and_not_two(
    world: World, params: Params, step: int
) -> None:
    for weights in ("w1", "w2", "w3"):
        train(world, weights)
        release(params)
    world.dies_at = step
    with pytest.raises(Killed):
        rollback(params, hold=True)
    world.dies_at = None
    if world.aliases["champion"] == "3":
        rollback(params, hold=True)
    assert (world.aliases["champion"], world.current) == ("2", "2")
    assert [event for event, _ in events()].count("rollback") == 1


def test_a_version_that_is_not_there_is_named_with_those_that_are(world: World, params: Params) -> None:
    with pytest.raises(ParrotError, match=r"no version before; name one \(there: none\)"):
        rollback(params)
    train(world, "w1")
    release(params)
    with pytest.raises(ParrotError, match="the registry has no version 9; there: 1"):
        rollback(params, "9")


def test_a_champion_deleted_from_the_registry_holds_and_can_be_gone_back_from(
    world: World, params: Params
) -> None:
    for weights in ("w1", "w2"):
        train(world, weights)
        release(params)
    del world.registered[1]
    train(world, "w3")
    done = release(params)
    assert done.verdict.decision == "HOLD" and "version 2 has been deleted" in done.verdict.reasons[0]
    assert rollback(params).version == "1"
    assert release(params).verdict.decision == "PROMOTE"


def test_an_evaluation_of_the_champion_that_is_lost_holds_until_it_is_given(
    world: World, params: Params
) -> None:
    train(world, "w1")
    release(params)
    kept = world.evaluations.pop("w1")
    train(world, "w2")
    done = release(params)
    assert done.verdict.decision == "HOLD"
    assert "the evaluation of version 1 cannot be had (run run1: its files have been deleted)" in str(
        done.verdict.reasons
    )
    assert release(params, champion=kept).is_champion


def test_anothers_evaluation_is_judged_and_not_registered(
    world: World, params: Params, evaluations: dict[str, Path]
) -> None:
    train(world, "w1")
    release(params)
    world.steps.clear()
    judged = judge(params, challenger=evaluations["w2"])
    assert judged.verdict.decision == "PROMOTE" and judged.version is None
    assert world.steps == ["ledger", "ledger written"]
    assert read_ledger(LEDGER)[-1]["weights"] is None
    assert read_ledger(LEDGER)[-1]["models"]["challenger"]["weights"]


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*words])
    assert isinstance(stop.value.code, int), stop.value.code
    return stop.value.code


@pytest.mark.usefixtures("params")
def test_exit_codes_tell_the_decision(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    train(world, "w1")
    assert run("gate") == run("publish", "--dry-run") == 0
    assert capsys.readouterr().out.endswith("place: version 1, in place of nothing\n")
    assert run("publish") == run("publish") == 0
    assert run("gate", "--dry-run") == 3
    for weights, code in (("like w1", 3), ("worse", 4), ("w2", 0)):
        train(world, weights)
        assert run("gate", "--dry-run") == run("publish") == code
    assert run("gate", "--champion", str(world.evaluations["w3"]), "--dry-run") == 3
    assert run("gate", "--output", "out/verdict.json") == 3
    tree = json.loads(Path("out/verdict.json").read_text())
    assert tree["reasons"] == ["version 4 is the champion already"]
    capsys.readouterr()
    main(["rollback"])
    assert capsys.readouterr().out == "place: shows version 1\n"
    with pytest.raises(SystemExit) as stop:
        main(["rollback", "9"])
    assert str(stop.value.code).startswith("parrot rollback: parrot-demo: the registry has no version 9")


def test_what_is_not_up_to_date_is_not_released(project: Any) -> None:
    stage = "{name}: {{cmd: cp source {name}, deps: [source], outs: [{name}]}}"
    made = project(*(stage.format(name=name) for name in ("evaluate", "package")))
    from dvc.repo import Repo

    with Repo() as repo:
        repo.reproduce()
    module._check_up_to_date()
    (made / "source").write_text("2")
    with pytest.raises(ParrotError, match="evaluate, package: not up to date; run `dvc repro` first"):
        module._check_up_to_date()
