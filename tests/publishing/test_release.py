"""From a package to a publication and back, killed at every step."""

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from stand_ins import LEDGER, Killed, World, events, train

from parrot.cli import main
from parrot.config import Params
from parrot.errors import ParrotError
from parrot.pipeline.locks import RWLOCK
from parrot.pipeline.processes import file_lock
from parrot.publishing import release as module
from parrot.publishing.ledger import read_ledger
from parrot.publishing.release import judge, release, rollback


def test_first_better_and_worse(world: World, params: Params) -> None:
    train(world, "w1")
    first = release(params)
    assert first.verdict.decision == "PROMOTE" and first.champion is None and first.is_champion
    train(world, "w2")
    second = release(params)
    assert second.verdict.decision == "PROMOTE"
    assert second.champion == first.version
    assert second.published is not None and second.published.version == "2"
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


def test_a_release_killed_once_its_version_was_shown_is_finished_when_another_model_comes(
    half_released: World, params: Params
) -> None:
    world = half_released
    train(world, "worse")
    before = state(world)
    looked = release(params, dry_run=True)
    assert looked.champion and looked.champion.version == "2" and state(world) == before
    judged = release(params)
    assert judged.champion and judged.champion.version == "2" and judged.verdict.decision == "REJECT"
    assert world.aliases["champion"] == "2"
    assert events() == [
        ("verdict", "1"), ("publication", "1"), ("verdict", "2"), ("publication", "2"), ("verdict", "3"),
    ]  # fmt: skip
    assert rollback(params).version == "1"


def test_a_champion_of_another_ledger_stays(world: World, params: Params) -> None:
    for weights in ("w1", "w2"):
        train(world, weights)
        release(params)
    ledger = LEDGER.read_bytes()
    train(world, "w3")
    release(params)
    LEDGER.write_bytes(ledger)  # the third was published by a clone that has a ledger of its own
    train(world, "worse")
    assert release(params).verdict.decision == "REJECT"
    assert world.aliases["champion"] == "3"


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


@pytest.mark.parametrize("asked", ["champion", "fetch_evaluation"])
def test_a_store_that_is_away_decides_nothing(
    world: World, params: Params, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    train(world, "w1")
    release(params)
    train(world, "w2")
    before = events()

    def away(*given: object) -> None:
        raise ParrotError("no MLflow server answers")

    with monkeypatch.context() as patched:
        patched.setattr(world, asked, away)
        with pytest.raises(ParrotError, match="no MLflow server answers"):
            release(params)
    assert events() == before
    assert release(params).is_champion


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
    RWLOCK.write_text("{")  # DVC was killed while it wrote it
    with pytest.raises(ParrotError, match=r"rwlock is damaged.*remove that file and start again"):
        module._check_up_to_date()
