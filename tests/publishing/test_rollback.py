"""The way back to an earlier version."""

import pytest
from stand_ins import LEDGER, Killed, World, events, train

from parrot.config import Params
from parrot.errors import ParrotError
from parrot.publishing.ledger import read_ledger
from parrot.publishing.release import release, rollback


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


def test_the_way_back_from_a_release_that_was_killed_once_its_version_was_shown(
    half_released: World, params: Params
) -> None:
    assert rollback(params, hold=True).version == "1"
    assert (half_released.aliases["champion"], half_released.current) == ("1", "1")
    assert "version 2 was taken back" in release(params).verdict.reasons[0]


def test_a_way_back_that_was_killed_is_finished_by_a_release(world: World, params: Params) -> None:
    for weights in ("w1", "w2"):
        train(world, weights)
        release(params)
    world.dies_at = 3
    with pytest.raises(Killed):
        rollback(params, hold=True)
    world.dies_at = None
    train(world, "w3")
    done = release(params)
    assert done.champion and done.champion.version == "1" and done.is_champion


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
