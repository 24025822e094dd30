"""How often each entry is drawn, and in which order sources are mixed."""

import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_sources import (
    changed,
    digests,
    instruction,
    small_world,
)
from stage_outputs import ids

from parrot.config import Mixed
from parrot.data.draws import draw_copies
from parrot.errors import ParrotError


def test_the_order_is_that_of_the_first_trainings(tmp_path: Path) -> None:
    """Recorded before the mixture was an index: published losses rest on it."""
    world = small_world(tmp_path, conversations=12)
    world.run("sft")
    assert " ".join(row["id"] for row in world.dataset("sft")) == ORDER


ORDER = "0 c12 1 2 c20 3 c21 4 c22 5 c13 6 c14 c15 c16 c23 7 c17 8 c18 c19 9"


def test_sources_are_mixed_evenly_and_keep_their_order(tmp_path: Path) -> None:
    world = small_world(tmp_path, conversations=600)
    world = replace(world, prepare=changed(world.prepare, partition_records=100))
    world.run()
    rows = list(world.dataset())
    quarters = [
        sum(row["language"] == "zh" for row in rows[start : start + 150]) for start in range(0, 600, 150)
    ]
    assert all(30 <= count <= 70 for count in quarters)  # 50 expected, standard deviation 5
    for language in ("en", "zh"):
        numbers = [int(row["id"][1:]) for row in rows if row["language"] == language]
        assert numbers == sorted(numbers)


def test_samples_are_taken_exactly_and_by_seed(tmp_path: Path) -> None:
    items = [instruction(number) for number in range(50)]
    world = small_world(tmp_path).only(items, mixed={"samples": 20})

    def taken(seed: int) -> list[int]:
        assert world.run(seed=seed)["records"] == 20
        return [int(name) for name in ids(world)]

    first = taken(1)
    assert first == sorted(set(first)) == taken(1)
    assert first != taken(2)
    more = world.only(items, mixed={"samples": 60})
    with pytest.raises(ParrotError, match=r"only: holds 50 entries, 60 samples are asked.*mix.align.only"):
        more.run()


def test_a_source_without_samples_is_drawn_in_a_byte_an_entry() -> None:
    total = 1 << 20
    tracemalloc.start()
    copies = draw_copies(Path("talk"), total, Mixed(weight=2.0), "1/align")
    assert tracemalloc.get_traced_memory()[1] < 2 * total
    tracemalloc.stop()
    assert (copies == 2).all()


def test_a_weight_is_how_often_training_sees_a_record(tmp_path: Path) -> None:
    items = [instruction(number) for number in range(40)]
    world = small_world(tmp_path).only(items, mixed={"weight": 2.25})
    metrics = world.run()
    assert (metrics["records"], metrics["samples"], metrics["duplicates"]) == (40, 90, 0)
    assert (metrics["languages"], metrics["sources"]) == ({"en": 90}, {"only": 90})
    assert sorted(Counter(ids(world)).values()) == [2] * 30 + [3] * 10
    first = digests(world.mixture("align"))
    world.run()
    assert digests(world.mixture("align")) == first
    half = world.only(items, mixed={"weight": 0.5, "samples": 20}).run()
    assert (half["records"], half["samples"]) == (10, 10)


def test_rejects_of_entries_that_are_not_drawn_do_not_count(tmp_path: Path) -> None:
    items: list[Any] = [instruction(number) if number % 10 else 7 for number in range(100)]
    world = small_world(tmp_path).only(items, mixed={"samples": 30})
    world = replace(world, mix=changed(world.mix, max_reject_share=0.5))
    metrics = world.run()
    assert metrics["records"] + metrics["rejects"]["total"] == 30
    assert 0 < metrics["rejects"]["total"] < 10
    drawn = {int(name) for name in ids(world)} | {int(row["record"]) for row in world.rejects()}
    assert len(drawn) == 30
