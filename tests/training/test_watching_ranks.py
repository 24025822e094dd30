"""Two ranks: what is watched is that of all of them."""

from typing import Any

import pytest
from workshop import Workshop

TWO_RANKS: dict[str, Any] = {"batch_size": 2, "launch": {"processes": 2}}
"""The global batch is the single process's: four."""
ASKED = {"every_steps": 2, "records": 4}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
def test_two_ranks_under_zero3_tell_what_one_process_tells(workshop: Workshop) -> None:
    workshop.alone(workshop.case("alone", "sft", "parrot", moe=True, training={"evaluation": ASKED}))
    training = {**TWO_RANKS, "evaluation": ASKED}
    ranks = workshop.case("ranks", "sft", "parrot", moe=True, deepspeed="zero3", training=training)
    done = workshop.on_ranks([ranks])
    assert done.returncode == 0, done.stderr[-3000:]
    expected, told = workshop.told("alone"), workshop.told("ranks")
    assert [row["step"] for row in told] == [row["step"] for row in expected]
    same = ("eval_loss", "loss", "router_entropy/en", "expert_load/en.0", "expert_load/en.1")
    for row, other in zip(told, expected, strict=True):
        assert row.keys() == other.keys()
        for name in set(same) & row.keys():
            assert row[name] == pytest.approx(other[name], rel=1e-3), name
        assert "eval_loss" in row or row["tokens_per_second"] > 0


def test_ranks_name_the_records_of_a_batch_that_is_no_number(workshop: Workshop) -> None:
    training = {**TWO_RANKS, "logging_steps": 4, "max_steps": 4}
    case = workshop.case("broken", "sft", "parrot", broken="r5", images=[1] * 16, training=training)
    done = workshop.on_ranks([case])
    assert done.returncode == 1
    said = done.stderr.rpartition("the loss is nan at step ")[2]
    assert "or look at the records of its batch: " in said
    named = said.rpartition("batch: ")[2].partition(";")[0].split(", ")
    assert len(named) == 2 and "r5 of s" in named
