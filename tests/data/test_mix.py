"""Prepared sources become a mixture: what is admitted, cut and refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_sources import (
    changed,
    conversation,
    digests,
    instruction,
    picture,
    small_world,
    turns,
)
from stage_outputs import ids

from parrot.data.rejects import kind


def test_everything_arrives(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    metrics = world.run()
    assert metrics == {
        "records": 30,
        "samples": 30,
        "images": 30,
        "text_only": 0,
        "languages": {"en": 20, "zh": 10},
        "sources": {"talk": 30},
        "rejects": {"total": 0},
        "duplicates": 0,
        "contaminated": 0,
        "too_long": 0,
        "cut": 0,
        "balance": {
            "talk": {
                "read": 30, "kept": 30, "mended": 0, "rejected": 0, "deduplicated": 0, "sampled_away": 0,
                "left_out": 0,
            }
        },
    }  # fmt: skip
    assert json.loads((tmp_path / "metrics" / "align.json").read_text()) == metrics
    assert list(digests(world.mixture("align"))) == ["balance.json", "index.parquet", "rejects.parquet"]
    assert world.rejects() == []
    by_id = {row["id"]: row for row in world.dataset()}
    assert by_id["c7"] == {
        "id": "c7",
        "source": "talk",
        "language": "en",
        "messages": [
            {"role": "user", "content": "<image>\nWhat is it?"},
            {"role": "assistant", "content": "Number 7."},
        ],
        "images": [picture(7)],
    }
    sft = world.run("sft")
    assert (sft["records"], sft["images"], sft["text_only"]) == (40, 30, 10)
    assert sft["sources"] == {"chat": 30, "text": 10}


def test_the_index_says_where_a_record_is_and_what_it_takes(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    world.run()
    index = pq.read_table(world.mixture("align") / "index.parquet").to_pylist()
    [row] = [row for row in index if row["id"] == "c7"]
    assert 30 < row.pop("positions") <= 512
    assert row == {
        "shard": "talk/part-00000.parquet", "row": 7, "id": "c7", "source": "talk", "language": "en",
        "length": len("\nWhat is it?Number 7."), "copies": 1, "turns": 2,
    }  # fmt: skip


def test_same_inputs_and_seed_same_bytes_and_no_shard_is_touched(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    world.run()
    first, shards = digests(world.mixture("align")), digests(world.prepared("align"))
    world.mix_split()
    assert digests(world.mixture("align")) == first
    world.mix_split(seed=2)
    assert digests(world.mixture("align")) != first
    assert digests(world.prepared("align")) == shards


@pytest.mark.parametrize(
    ("entry", "image", "field", "reason"),
    [
        (conversation(1), picture(901), "image", "contaminated"),
        (conversation(2) | {"id": "c1"}, None, "", "duplicate"),
        (conversation(1, answer=" "), None, "conversations[1].value", "empty text"),
    ],
)
def test_rejects(tmp_path: Path, entry: dict[str, Any], image: bytes | None, field: str, reason: str) -> None:
    """Those of prepare are counted and listed with the mixture's own."""
    images = {f"{number}.jpg": picture(number) for number in range(2, 30)} | {"1.jpg": image or picture(1)}
    items = [conversation(number) for number in range(2, 30)]
    world = small_world(tmp_path).only([*items, entry], images)
    metrics = world.run()
    [row] = world.rejects()
    assert (row["source"], row["record"], row["field"], kind(row["reason"])) == ("only", "c1", field, reason)
    assert (metrics["records"], metrics["rejects"]) == (28, {"total": 1, reason: 1})
    assert metrics["duplicates"] == (reason == "duplicate")
    assert metrics["contaminated"] == (reason == "contaminated")


def test_a_duplicate_names_the_source_that_came_before(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    again = world.sources["text"].model_copy(update={"language": "zh"})  # another reading of the file
    twice = replace(
        world,
        sources=world.sources | {"again": again},
        mix=changed(world.mix, sft={"text": 1.0, "again": 1.0}, max_reject_share=0.5),
    )
    assert twice.run("sft")["duplicates"] == 10
    reasons = {(row["source"], row["reason"].rpartition(", ")[2]) for row in twice.rejects("sft")}
    assert reasons <= {("text", "in again"), ("again", "in text")}


LONG = turns("Say it.", "Number one.", "And now?", "Number two. " * 20, "Again?", "Number three.")


def test_a_record_that_is_too_long_is_cut_or_dropped_and_named(tmp_path: Path) -> None:
    items: list[Any] = [
        {"id": f"c{number}", "conversations": turns(f"{number}?", "Yes.")} for number in range(40)
    ]
    items += [{"id": "long", "conversations": LONG}, {"id": "all", "conversations": turns("Hi", "ho " * 200)}]
    world = small_world(tmp_path).only(items, {})
    metrics = world.run(max_length=120)
    assert (metrics["records"], metrics["too_long"], metrics["cut"]) == (41, 1, 1)
    assert metrics["rejects"] == {"total": 1, "too long": 1}
    named = {row["record"]: row for row in world.rejects()}
    assert named["all"]["reason"].startswith("too long: ")
    assert named["long"]["reason"].startswith("cut: ")
    assert named["long"]["reason"].endswith(
        "more than model.max_length = 120; left out: the last 2 of 3 questions and answers"
    )
    assert {row["field"] for row in named.values()} == {"messages"}
    dataset = world.dataset()
    by_id = {row["id"]: (row, length) for row, length in zip(dataset, dataset.lengths, strict=True)}
    row, length = by_id["long"]
    assert [turn["content"] for turn in row["messages"]] == ["Say it.", "Number one."]
    assert length == len("Say it.Number one.")
    dropped = replace(world, mix=changed(world.mix, too_long="drop")).mix_split(max_length=120)
    assert (dropped["records"], dropped["too_long"], dropped["cut"]) == (40, 2, 0)
    whole = world.mix_split(max_length=2000)
    assert (whole["records"], whole["cut"], world.rejects()) == (42, 0, [])


def test_what_is_equal_once_it_is_cut_is_a_duplicate_and_pictures_cut_off_are_not_looked_at(
    tmp_path: Path,
) -> None:
    """Only what is trained on counts."""
    talk = turns("<image>\nSay it.", "Number one.", "<image>\nAnd now?", "Number two. " * 20)
    items: list[Any] = [conversation(number) for number in range(20)]
    items += [
        {"id": "long", "image": ["30.jpg", "benchmark.jpg"], "conversations": talk},
        {"id": "same", "image": ["30.jpg"], "conversations": talk[:2]},
    ]
    images = {f"{number}.jpg": picture(number) for number in range(31)} | {"benchmark.jpg": picture(901)}
    world = small_world(tmp_path).only(items, images)
    metrics = world.run(max_length=120)
    assert (metrics["records"], metrics["images"], metrics["cut"]) == (21, 21, 1)
    assert metrics["rejects"] == {"total": 1, "duplicate": 1}
    assert {row["id"]: row["images"] for row in world.dataset()}["long"] == [picture(30)]


def test_equal_content_elsewhere_is_no_duplicate(tmp_path: Path) -> None:
    """The same text about other pictures, and the same picture with another text, may stay."""
    items = [conversation(number, answer="Yes.") for number in range(10)]
    items += [conversation(number, "Other? <image>", answer="Yes.") for number in range(10)]
    images = {f"{number}.jpg": picture(number) for number in range(10)}
    world = small_world(tmp_path).only(items, images)
    assert world.run()["records"] == 20
    assert ids(world) == [f"c{n}" for n in range(10)] + [f"c{n}#2" for n in range(10)]


def test_ids_stay_unique_whatever_they_are(tmp_path: Path) -> None:
    names = ["a", "a#2", "a", "a", "a#2", 7, "7"]
    items = [instruction(number) | {"id": name} for number, name in enumerate(names)]
    world = small_world(tmp_path).only(items)
    world.run()
    assert ids(world) == ["a", "a#2", "a#3", "a#4", "a#2#2", "7", "7#2"]
