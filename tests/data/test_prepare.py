import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_sources import (
    MODEL,
    conversation,
    instruction,
    picture,
    question,
    small_backbones,
    small_world,
    turns,
    write_json_list,
    write_tsv,
    write_zip,
)

from parrot.config import Prepare
from parrot.data.prepare import prepare
from parrot.data.rejects import kind
from parrot.data.shards import RecordDataset
from parrot.errors import ParrotError


def run(params: Prepare, folder: Path, seed: int = 1, max_length: int = 512) -> dict[str, Any]:
    return prepare(
        params,
        MODEL.model_copy(update={"max_length": max_length}),
        image_sides=(8, 2000),
        seed=seed,
        **small_backbones(folder / "backbones"),
        output=folder / "prepared",
        metrics=folder / "metrics.json",
    )


def rejects(folder: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = pq.read_table(folder / "prepared" / "rejects.parquet").to_pylist()
    return rows


def digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in (folder / "prepared").rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def changed(params: Prepare, **values: Any) -> Prepare:
    return params.model_validate(params.model_dump() | values)


def with_alpaca(params: Prepare, items: list[Any], folder: Path, **source: Any) -> Prepare:
    """The align split holds these items alone."""
    path = write_json_list(folder / "only.json", items)
    only = {"name": "only", "format": "alpaca", "path": str(path), "language": "en"} | source
    return changed(params, align=[only])


def with_llava(params: Prepare, items: list[Any], folder: Path, images: dict[str, bytes]) -> Prepare:
    archive = write_zip(folder / "only.zip", images)
    return with_alpaca(params, items, folder, format="llava", images=str(archive))


def test_everything_arrives(tmp_path: Path) -> None:
    metrics = run(small_world(tmp_path), tmp_path)
    assert metrics["align"] == {
        "records": 30,
        "samples": 30,
        "images": 30,
        "text_only": 0,
        "languages": {"en": 20, "zh": 10},
        "sources": {"align_en": 20, "align_zh": 10},
        "rejects": {"total": 0},
        "duplicates": 0,
        "contaminated": 0,
        "too_long": 0,
        "cut": 0,
    }
    assert (metrics["sft"]["records"], metrics["sft"]["text_only"], metrics["rejects"]) == (40, 10, 0)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert list(digests(tmp_path)) == [
        "prepared/align/align-00000-of-00001.parquet",
        "prepared/rejects.parquet",
        "prepared/sft/sft-00000-of-00001.parquet",
    ]
    assert rejects(tmp_path) == []
    by_id = {row["id"]: row for row in RecordDataset(tmp_path / "prepared" / "align")}
    assert by_id["c7"] == {
        "id": "c7",
        "source": "align_en",
        "language": "en",
        "messages": [
            {"role": "user", "content": "<image>\nWhat is it?"},
            {"role": "assistant", "content": "Number 7."},
        ],
        "images": [picture(7)],
        "length": len("\nWhat is it?Number 7."),
        "positions": by_id["c7"]["positions"],
        "copies": 1,
    }
    assert 30 < by_id["c7"]["positions"] <= 512


def test_same_inputs_and_seed_same_bytes(tmp_path: Path) -> None:
    params = small_world(tmp_path)
    run(params, tmp_path)
    first = digests(tmp_path)
    run(params, tmp_path)
    assert digests(tmp_path) == first
    run(params, tmp_path, seed=2)
    assert digests(tmp_path) != first


def test_sources_are_mixed_evenly_and_keep_their_order(tmp_path: Path) -> None:
    run(small_world(tmp_path, conversations=600), tmp_path)
    rows = list(RecordDataset(tmp_path / "prepared" / "align"))
    quarters = [
        sum(row["language"] == "zh" for row in rows[start : start + 150]) for start in range(0, 600, 150)
    ]
    assert all(30 <= count <= 70 for count in quarters)  # 50 expected, standard deviation 5
    for language in ("en", "zh"):
        numbers = [int(row["id"][1:]) for row in rows if row["language"] == language]
        assert numbers == sorted(numbers)


def test_shards_are_limited_and_named(tmp_path: Path) -> None:
    images = {f"{number}.jpg": picture(number) + bytes(100_000) for number in range(25)}
    items = [conversation(number) for number in range(25)]
    run(with_llava(small_world(tmp_path), items, tmp_path, images), tmp_path)
    shards = sorted((tmp_path / "prepared" / "align").iterdir())
    assert [shard.name for shard in shards] == [f"align-0000{n}-of-00003.parquet" for n in range(3)]
    assert all(shard.stat().st_size < 1.1 * 2**20 for shard in shards)
    assert len(RecordDataset(tmp_path / "prepared" / "align")) == 25


def test_samples_are_taken_exactly_and_by_seed(tmp_path: Path) -> None:
    items = [instruction(number) for number in range(50)]
    params = with_alpaca(small_world(tmp_path), items, tmp_path, samples=20)

    def ids(seed: int) -> list[int]:
        assert run(params, tmp_path, seed)["align"]["records"] == 20
        return [int(row["id"]) for row in RecordDataset(tmp_path / "prepared" / "align")]

    first = ids(1)
    assert first == sorted(set(first)) == ids(1)
    assert first != ids(2)
    with pytest.raises(ParrotError, match="holds 50 entries, source only asks for 60 samples"):
        run(with_alpaca(params, items, tmp_path, samples=60), tmp_path)


@pytest.mark.parametrize(
    ("entry", "image", "field", "reason"),
    [
        (conversation(1, "What?"), None, "conversations", "placeholders"),
        (conversation(1, answer=" "), None, "conversations[1].value", "empty text"),
        (conversation(77) | {"id": "c1"}, None, "image", "missing image"),
        (conversation(1) | {"image": "../1.jpg"}, None, "image", "unsafe path"),
        (conversation(1), b"no picture", "image", "unreadable image"),
        (conversation(1), picture(1, (1010, 1000)), "image", "image too large"),
        (conversation(1), picture(1, (7, 30)), "image", "image too small"),
        (conversation(1), picture(1, (8, 2001)), "image", "image too large"),
        (conversation(1), picture(901), "image", "contaminated"),
        (conversation(2) | {"id": "c1"}, None, "", "duplicate"),
    ],
)
def test_rejects(tmp_path: Path, entry: dict[str, Any], image: bytes | None, field: str, reason: str) -> None:
    images = {f"{number}.jpg": picture(number) for number in range(2, 30)} | {"1.jpg": image or picture(1)}
    items = [conversation(number) for number in range(2, 30)]
    metrics = run(with_llava(small_world(tmp_path), [*items, entry], tmp_path, images), tmp_path)
    [row] = rejects(tmp_path)
    assert (row["source"], row["record"], row["field"], kind(row["reason"])) == ("only", "c1", field, reason)
    assert metrics["align"]["records"] == 28
    assert metrics["align"]["rejects"] == {"total": 1, reason: 1}
    assert metrics["align"]["duplicates"] == (reason == "duplicate")
    assert metrics["align"]["contaminated"] == (reason == "contaminated")
    assert metrics["rejects"] == 1


def test_a_weight_is_how_often_training_sees_a_record(tmp_path: Path) -> None:
    items = [instruction(number) for number in range(40)]
    params = with_alpaca(small_world(tmp_path), items, tmp_path, weight=2.25)
    metrics = run(params, tmp_path)["align"]
    assert (metrics["records"], metrics["samples"], metrics["duplicates"]) == (40, 90, 0)
    assert (metrics["languages"], metrics["sources"]) == ({"en": 90}, {"only": 90})
    first = digests(tmp_path)
    seen = Counter(row["id"] for row in RecordDataset(tmp_path / "prepared" / "align"))
    assert sorted(seen.values()) == [2] * 30 + [3] * 10
    run(params, tmp_path)
    assert digests(tmp_path) == first
    half = run(with_alpaca(params, items, tmp_path, weight=0.5, samples=20), tmp_path)["align"]
    assert (half["records"], half["samples"]) == (10, 10)


def test_a_file_named_twice_is_weighed_and_no_duplicate(tmp_path: Path) -> None:
    items = [*(instruction(number) for number in range(40)), instruction(3)]
    params = with_alpaca(small_world(tmp_path), items, tmp_path)
    [source] = params.align
    again = source.model_copy(update={"name": "again", "weight": 0.5})
    metrics = run(changed(params, align=[source, again]), tmp_path)["align"]
    assert (metrics["records"], metrics["duplicates"]) == (40, 1)  # that within the file is found
    assert 59 <= metrics["samples"] <= 61
    assert list(metrics["sources"]) == ["only"]
    other = again.model_copy(update={"language": "zh"})  # another reading of the file is a duplicate
    with pytest.raises(ParrotError, match="mostly duplicate"):
        run(changed(params, align=[source, other]), tmp_path)


LONG = turns("Say it.", "Number one.", "And now?", "Number two. " * 20, "Again?", "Number three.")


def test_a_record_that_is_too_long_is_cut_or_dropped_and_named(tmp_path: Path) -> None:
    items: list[Any] = [
        {"id": f"c{number}", "conversations": turns(f"{number}?", "Yes.")} for number in range(40)
    ]
    items += [{"id": "long", "conversations": LONG}, {"id": "all", "conversations": turns("Hi", "ho " * 200)}]
    params = with_llava(small_world(tmp_path), items, tmp_path, {})
    metrics = run(params, tmp_path, max_length=120)
    assert (metrics["align"]["records"], metrics["align"]["too_long"], metrics["align"]["cut"]) == (41, 1, 1)
    assert (metrics["align"]["rejects"], metrics["rejects"]) == ({"total": 1, "too long": 1}, 1)
    named = {row["record"]: row for row in rejects(tmp_path)}
    assert named["all"]["reason"].startswith("too long: ")
    assert named["long"]["reason"].startswith("cut: ")
    assert named["long"]["reason"].endswith(
        "more than model.max_length = 120; left out: the last 2 of 3 questions and answers"
    )
    assert {row["field"] for row in named.values()} == {"messages"}
    by_id = {row["id"]: row for row in RecordDataset(tmp_path / "prepared" / "align")}
    assert [turn["content"] for turn in by_id["long"]["messages"]] == ["Say it.", "Number one."]
    metrics = run(changed(params, too_long="drop"), tmp_path, max_length=120)
    assert (metrics["align"]["records"], metrics["align"]["too_long"], metrics["align"]["cut"]) == (40, 2, 0)
    metrics = run(params, tmp_path, max_length=2000)
    assert (metrics["align"]["records"], metrics["align"]["cut"], rejects(tmp_path)) == (42, 0, [])


def test_a_field_that_would_be_lost_is_refused_or_ignored_by_name(tmp_path: Path) -> None:
    items = [instruction(number) | {"history": ["a"]} for number in range(5)]
    params = with_alpaca(small_world(tmp_path), items, tmp_path)
    with pytest.raises(ParrotError, match=r"5 of 5 entries rejected.*unknown field \(5\)"):
        run(params, tmp_path)
    assert {row["field"] for row in rejects(tmp_path)} == {"history"}
    kept = with_alpaca(params, items, tmp_path, ignore=["history"])
    assert run(kept, tmp_path)["align"]["records"] == 5


def test_a_contaminated_picture_names_the_benchmark_file(tmp_path: Path) -> None:
    images = {f"{number}.jpg": picture(900 if number == 5 else number) for number in range(20)}
    run(with_llava(small_world(tmp_path), [conversation(n) for n in range(20)], tmp_path, images), tmp_path)
    assert rejects(tmp_path)[0]["reason"] == f"contaminated: 5.jpg is also in {tmp_path}/mmmb/en.tsv"


def test_equal_content_elsewhere_is_no_duplicate(tmp_path: Path) -> None:
    """The same text about other pictures, and the same picture with another text, may stay."""
    items = [conversation(number, answer="Yes.") for number in range(10)]
    items += [conversation(number, "Other? <image>", answer="Yes.") for number in range(10)]
    images = {f"{number}.jpg": picture(number) for number in range(10)}
    metrics = run(with_llava(small_world(tmp_path), items, tmp_path, images), tmp_path)
    assert metrics["align"]["records"] == 20
    ids = [row["id"] for row in RecordDataset(tmp_path / "prepared" / "align")]
    assert ids == [f"c{n}" for n in range(10)] + [f"c{n}#2" for n in range(10)]


def test_ids_stay_unique_whatever_they_are(tmp_path: Path) -> None:
    items = [instruction(n) | {"id": name} for n, name in enumerate(["a", "a#2", "a", "a", "a#2", 7, "7"])]
    run(with_alpaca(small_world(tmp_path), items, tmp_path), tmp_path)
    ids = [row["id"] for row in RecordDataset(tmp_path / "prepared" / "align")]
    assert ids == ["a", "a#2", "a#3", "a#4", "a#2#2", "7", "7#2"]


def test_too_many_rejects_stop_it_and_leave_the_table(tmp_path: Path) -> None:
    items: list[Any] = [instruction(number) for number in range(20)]
    items += [{"instruction": f"{n}", "output": ""} for n in range(3)] + [7, 8] + [instruction(1)]
    params = with_alpaca(small_world(tmp_path), items, tmp_path)
    with pytest.raises(ParrotError) as error:
        run(params, tmp_path)
    table = tmp_path / "prepared" / "rejects.parquet"
    assert str(error.value) == (
        "align: 6 of 26 entries rejected, max_reject_share allows 0.1; mostly "
        f"empty text (3), wrong type (2), duplicate (1); all are listed in {table}"
    )
    assert len(rejects(tmp_path)) == 6
    assert list(digests(tmp_path)) == ["prepared/rejects.parquet"]
    assert json.loads((tmp_path / "metrics.json").read_text())["rejects"] == 6
    assert run(changed(params, max_reject_share=0.5), tmp_path)["align"]["records"] == 20


def test_a_benchmark_file_as_source(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "train.tsv", [question(number, picture(number)) for number in range(5)])
    params = small_world(tmp_path)
    source = {"name": "quiz", "format": "mmmb", "path": str(path), "language": "en"}
    assert run(changed(params, align=[source]), tmp_path)["align"]["images"] == 5
    with pytest.raises(ParrotError, match=r"5 of 5 entries rejected.*contaminated"):
        run(changed(params, align=[source], benchmarks=[str(path)]), tmp_path)


def test_a_question_with_lost_characters_is_rejected(tmp_path: Path) -> None:
    rows = [question(n, picture(n), question=f"Caf{'é' if n else chr(0xFFFD)} {n}?") for n in range(20)]
    path = write_tsv(tmp_path / "train.tsv", rows)
    source = {"name": "quiz", "format": "mmmb", "path": str(path), "language": "en"}
    assert run(changed(small_world(tmp_path), align=[source]), tmp_path)["align"]["records"] == 19
    assert [(row["field"], kind(row["reason"])) for row in rejects(tmp_path)] == [("question", "broken text")]


@pytest.mark.parametrize("missing", ["align/en.json", "images.zip", "mmmb"])
def test_missing_inputs_say_how_to_get_them(tmp_path: Path, missing: str) -> None:
    params = small_world(tmp_path)
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(ParrotError, match=f"{missing}: not found.*`parrot data`"):
        run(params, tmp_path)
    assert not (tmp_path / "prepared").exists()


def test_a_folder_for_a_file_and_absent_backbones(tmp_path: Path) -> None:
    params = small_world(tmp_path)
    [source] = with_alpaca(params, [], tmp_path).align
    with pytest.raises(ParrotError, match="is a folder; source only is read from one file"):
        run(changed(params, align=[source.model_copy(update={"path": str(tmp_path)})]), tmp_path)
    backbones = small_backbones(tmp_path / "backbones")
    backbones["vision"].rename(tmp_path / "elsewhere")
    with pytest.raises(ParrotError, match="vision: not found; run the stages backbones-vision"):
        run(params, tmp_path)


def test_an_empty_benchmark_folder_and_an_empty_source(tmp_path: Path) -> None:
    params = small_world(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ParrotError, match=r"holds no .tsv"):
        run(changed(params, benchmarks=[str(tmp_path / "empty")]), tmp_path)
    with pytest.raises(ParrotError, match="align: its sources hold no entries"):
        run(with_alpaca(params, [], tmp_path), tmp_path)


def test_broken_json_leaves_nothing(tmp_path: Path) -> None:
    params = small_world(tmp_path)
    (tmp_path / "sft" / "zh.json").write_text('[{"id": 1},\n{"id": oops}]')
    with pytest.raises(ParrotError, match="line 2, column 8: broken JSON"):
        run(params, tmp_path)
    assert not (tmp_path / "prepared").exists()
    assert not list(tmp_path.glob(".prepared*"))
