import json
import shutil
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_sources import (
    World,
    changed,
    conversation,
    digests,
    instruction,
    picture,
    question,
    small_backbones,
    small_world,
    turns,
    write_tsv,
)

from parrot.config import Mixed
from parrot.data.draws import draw_copies
from parrot.data.rejects import kind
from parrot.errors import ParrotError


def ids(world: World) -> list[str]:
    return [row["id"] for row in world.dataset()]


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


def test_rejects_of_entries_that_are_not_drawn_do_not_count(tmp_path: Path) -> None:
    items: list[Any] = [instruction(number) if number % 10 else 7 for number in range(100)]
    world = small_world(tmp_path).only(items, mixed={"samples": 30})
    world = replace(world, mix=changed(world.mix, max_reject_share=0.5))
    metrics = world.run()
    assert metrics["records"] + metrics["rejects"]["total"] == 30
    assert 0 < metrics["rejects"]["total"] < 10
    drawn = {int(name) for name in ids(world)} | {int(row["record"]) for row in world.rejects()}
    assert len(drawn) == 30


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


def test_too_many_rejects_stop_it_and_leave_the_table(tmp_path: Path) -> None:
    items: list[Any] = [*(instruction(number) for number in range(20)), 7, *map(instruction, range(3))]
    world = small_world(tmp_path).only(items)
    with pytest.raises(ParrotError) as error:
        world.run()
    table = world.mixture("align") / "rejects.parquet"
    assert str(error.value) == (
        "align: 4 of 24 entries rejected, max_reject_share allows 0.1; mostly "
        f"duplicate (3), wrong type (1); all are listed in {table}"
    )
    assert len(world.rejects()) == 4
    assert list(digests(world.mixture("align"))) == ["rejects.parquet"]
    assert json.loads((tmp_path / "metrics" / "align.json").read_text())["rejects"]["total"] == 4
    assert replace(world, mix=changed(world.mix, max_reject_share=0.5)).mix_split()["records"] == 20


def test_a_source_that_is_missing_or_was_removed_is_named(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    with pytest.raises(ParrotError, match="align/talk: not found; run the stage prepare@talk first"):
        world.mix_split()
    world.run()
    shutil.copytree(world.prepared("align") / "talk", world.prepared("align") / "gone")
    with pytest.raises(ParrotError, match=r"align/gone: is no source of mix.align; .* delete it"):
        world.mix_split()


def test_missing_inputs_say_how_to_get_them(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    world.run()
    before = digests(world.mixture("align"))
    (tmp_path / "mmmb" / "en.tsv").unlink()
    with pytest.raises(ParrotError, match=r"mmmb: holds no .tsv \(mix.benchmarks\)"):
        world.mix_split()
    (tmp_path / "mmmb").rmdir()
    with pytest.raises(ParrotError, match=r"mmmb: not found.*`parrot data`"):
        world.mix_split()
    small_backbones(tmp_path / "backbones")["vision"].rename(tmp_path / "elsewhere")
    write_tsv(tmp_path / "mmmb" / "en.tsv", [question(1, picture(1))])
    with pytest.raises(ParrotError, match="vision: not found; run the stage backbone first"):
        world.mix_split()
    assert digests(world.mixture("align")) == before


def test_no_entries_at_all(tmp_path: Path) -> None:
    world = small_world(tmp_path).only([instruction(1)], mixed={"weight": 0.1})
    with pytest.raises(ParrotError, match=r"mix.align: its sources hold no entries"):
        world.run()


def test_of_every_entry_it_is_said_what_became_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept, mended by prepare or cut, rejected by either stage, repeated, not drawn: they add up."""
    items: list[Any] = [instruction(number) for number in range(20)]
    items += [instruction(3), instruction(4)]  # deduplicated, if the other is drawn
    items += [instruction(30) | {"output": ""}, 7]  # rejected by prepare
    items += [instruction(31) | {"instruction": "a " * 900}]  # too long
    turns_ = [{"from": "human", "value": text} for text in ("Hi.", "What?")] + [
        {"from": "gpt", "value": "It."}
    ]
    world = small_world(tmp_path).only(items)
    world = replace(world, prepare=changed(world.prepare, max_reject_share=0.5))
    world = replace(world, mix=changed(world.mix, max_reject_share=0.5))
    whole = world.run()["balance"]["only"]
    assert whole == {
        "read": 25, "kept": 20, "mended": 0, "rejected": 3, "deduplicated": 2, "sampled_away": 0,
        "left_out": 0,
    }  # fmt: skip
    assert "mix align: only: 25 read = 20 kept + 0 mended + 3 rejected + 2 dedup" in capsys.readouterr().err
    for mixed in ({"samples": 9}, {"weight": 0.4}):
        some = replace(world, mix=changed(world.mix, align={"only": mixed})).mix_split()["balance"]["only"]
        assert some["sampled_away"] in (15, 16)
        assert sum(some.values()) == 2 * some["read"] == 50
    talks = [{"conversations": turns_}, {"conversations": turns("What?", "It.")}]
    mended = small_world(tmp_path / "talks").only(talks, format="llava")
    assert mended.prepare_source("only")["mended"]["total"] == 1
    assert mended.mix_split()["balance"]["only"]["mended"] == 1
    [row] = pq.read_table(mended.prepared("align") / "only" / "mended.parquet").to_pylist()
    assert (row["position"], json.loads(row["entry"])) == (0, talks[0])


def test_what_the_format_leaves_out_is_accounted_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it stands in the file, behind the last entry that is wanted, too."""
    items: list[Any] = [instruction(number) | {"part": "b" if number % 5 else "a"} for number in range(23)]
    form = {
        "columns": {"prompt": "instruction", "query": "input", "response": "output"}, "only": {"part": ["a"]}
    }  # fmt: skip
    world = small_world(tmp_path).only(items, format=form)
    account = world.run()["balance"]["only"]
    assert account == {
        "read": 23, "kept": 5, "mended": 0, "rejected": 0, "deduplicated": 0, "sampled_away": 0,
        "left_out": 18,
    }  # fmt: skip
    assert "mix align: only: 23 read = 5 kept + " in capsys.readouterr().err
    assert json.loads((world.mixture("align") / "balance.json").read_text()) == {"only": account}
    half = replace(world, mix=changed(world.mix, align={"only": {"samples": 2}})).mix_split()
    assert (half["balance"]["only"]["sampled_away"], half["balance"]["only"]["left_out"]) == (3, 18)
