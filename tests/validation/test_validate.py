import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parrot.config import Validate
from parrot.data.checksums import seal
from parrot.data.records import RECORD_SCHEMA, Image, Message, Record
from parrot.data.shards import ShardWriter, find_shards
from parrot.errors import ParrotError
from parrot.validation.contract import contract, contract_failures
from parrot.validation.expectations import check_splits
from parrot.validation.findings import Finding
from parrot.validation.metadata import read_metadata
from parrot.validation.validate import validate

LANGUAGES = ["en", "zh"]
MAX_LENGTH = 100
PARAMS = Validate(
    min_records=20,
    min_image_pixels=16,
    max_image_pixels=200,
    max_duplicate_share=0.05,
    max_text_only_share=0.2,
    english_share=[0.5, 0.9],
    min_language_share=0.1,
)

Plant = Callable[[list[Record]], list[Record]]


def picture(number: int, width: int = 20, height: int = 20) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), (number % 256, 7, 9)).save(file, "JPEG")
    return file.getvalue()


def record(number: int) -> Record:
    return Record(
        id=f"r{number}",
        source="talk",
        language="zh" if number % 4 == 0 else "en",
        messages=(Message("user", "<image>\nWhat is it?"), Message("assistant", f"Number {number}.")),
        images=(Image(f"{number}.jpg", picture(number)),),
        positions=40,
    )


def write(folder: Path, records: list[Record]) -> None:
    writer = ShardWriter(folder, 1 << 20)
    for item in records:
        writer.write(item)
    writer.close()


def good() -> list[Record]:
    return [record(number) for number in range(40)]


def prepared(folder: Path, sft: list[Record] | None = None) -> Path:
    write(folder / "prepared" / "align", good())
    write(folder / "prepared" / "sft", good() if sft is None else sft)
    return folder / "prepared"


def run(folder: Path, params: Validate = PARAMS) -> dict[str, Any]:
    return validate(
        params,
        LANGUAGES,
        MAX_LENGTH,
        prepared=folder / "prepared",
        reports=folder / "reports",
        metrics=folder / "metrics.json",
        stamp=folder / "stamp.json",
    )


def failures(folder: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = pq.read_table(folder / "reports" / "contract_failures.parquet").to_pylist()
    return rows


def change(number: int, **values: Any) -> Plant:
    """One record's fields are other ones."""
    return lambda records: [replace(item, **values) if item.id == f"r{number}" else item for item in records]


def say(*turns: tuple[Any, str]) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in turns)


def test_good_data_gets_a_stamp(tmp_path: Path) -> None:
    prepared(tmp_path)
    metrics = run(tmp_path)
    assert metrics["sft"] == {
        "records": 40,
        "contract_failures": 0,
        "expectations": 9,
        "failed_expectations": 0,
        "language_share": {"en": 0.75, "zh": 0.25},
        "text_only_share": 0.0,
        "duplicate_share": 0.0,
        "mean_text_bytes": metrics["sft"]["mean_text_bytes"],
        "mean_turns": 2.0,
    }
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    stamp = json.loads((tmp_path / "stamp.json").read_text())
    assert (stamp["passed"], stamp["records"]) == (True, {"align": 40, "sft": 40})
    assert failures(tmp_path) == []
    index = (tmp_path / "reports" / "data_docs" / "index.html").read_text()
    assert "align" in index and "sft" in index
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"


def test_the_stamp_depends_on_the_data_alone(tmp_path: Path) -> None:
    stamps = []
    for name, records in (("a", good()), ("b", good()), ("c", good()[:-1])):
        prepared(tmp_path / name, records)
        run(tmp_path / name, PARAMS.model_copy(update={"max_image_pixels": 200 + len(stamps)}))
        stamps.append((tmp_path / name / "stamp.json").read_text())
    assert stamps[0] == stamps[1] != stamps[2]


TWO = (Message("user", "What?"), Message("assistant", "It."))
PICTURE = Image("1.jpg", picture(1))


@pytest.mark.parametrize(
    ("plant", "field"),
    [
        (change(3, language="xx"), "language"),
        (change(3, id=""), "id"),
        (change(3, id="r4"), "repeated_id"),
        (change(3, messages=TWO[:1], images=()), "roles"),
        (change(3, messages=TWO[::-1], images=()), "roles"),
        (change(3, messages=say(("user", "<image>\nWhat?"), ("assistant", " "))), "empty_texts"),
        (change(3, messages=say(("user", "<image>\nWhat?"), ("assistant", "caf\ufffd"))), "broken_texts"),
        (change(3, messages=say(("user", " "), ("assistant", "It.")), images=()), "empty_texts"),
        (change(3, messages=say(("system", " "), ("user", "<image>"), ("assistant", "It."))), "empty_texts"),
        (change(3, messages=say(("user", "<image>"), ("system", "a"), ("assistant", "b"))), "roles"),
        (change(3, positions=101), "positions"),
        (change(3, positions=0), "positions"),
        (change(3, copies=0), "copies"),
        (change(3, messages=TWO), "unplaced_images"),
        (change(3, images=()), "unplaced_images"),
        (change(3, messages=say(("user", "What?"), ("assistant", "<image>It."))), "answer_placeholders"),
        (change(3, images=(Image("1.jpg", b"no picture"),)), "unreadable_images"),
        (change(3, images=(Image("1.jpg", picture(1, 15, 40)),)), "shorter_side"),
        (change(3, images=(Image("1.jpg", picture(1, 201, 40)),)), "longer_side"),
    ],
)
def test_a_planted_breach_of_the_contract_is_found(tmp_path: Path, plant: Plant, field: str) -> None:
    write(tmp_path / "sft", plant(good()))
    [frame] = read_metadata(tmp_path / "sft")
    found = contract_failures(contract(PARAMS, LANGUAGES, MAX_LENGTH), frame)
    [row] = found[found["field"] == field].to_dict("records")
    assert (row["shard"], row["source"]) == ("sft-00000-of-00001.parquet", "talk")
    assert row["record"] == ("" if field == "id" else "r4" if field == "repeated_id" else "r3")


def test_good_records_break_nothing_in_any_order(tmp_path: Path) -> None:
    led = say(("system", "One word."), ("user", "<image>"), ("assistant", "It."))
    apart = say(("user", "Left: <image> right: <image>?"), ("assistant", "Equal."))
    records = change(3, messages=led)(good())
    pictures = (Image("8.jpg", picture(8)), Image("9.jpg", picture(9)))
    write(tmp_path / "sft", change(4, messages=apart, images=pictures, copies=3)(records))
    [frame] = read_metadata(tmp_path / "sft")
    shuffled = frame.sample(frac=1, random_state=1)
    assert contract_failures(contract(PARAMS, LANGUAGES, MAX_LENGTH), shuffled).empty


def test_a_breach_stops_it(tmp_path: Path) -> None:
    prepared(tmp_path, change(3, messages=say(("user", "<image>\nWhat?"), ("assistant", " ")))(good()))
    (tmp_path / "stamp.json").write_text("of an earlier run")
    with pytest.raises(ParrotError) as error:
        run(tmp_path)
    assert str(error.value).splitlines() == [
        f"breaches of the contract: 1, all listed in {tmp_path / 'reports' / 'contract_failures.parquet'}:",
        "  sft/sft-00000-of-00001.parquet: record r3 of talk: "
        "empty_texts: every message must have text, found 1",
        "correct the data or its sources, or the limits in params.yaml's `validate`",
    ]
    assert [(row["split"], row["record"], row["field"]) for row in failures(tmp_path)] == [
        ("sft", "r3", "empty_texts")
    ]
    assert not (tmp_path / "stamp.json").exists()
    assert (tmp_path / "reports" / "data_docs" / "index.html").exists()
    assert json.loads((tmp_path / "metrics.json").read_text())["sft"]["contract_failures"] == 1


PLANTS: dict[str, tuple[Plant, str, str]] = {
    "nothing": (lambda records: records, "", ""),
    "few": (lambda records: records[:19], "at least 20 records", "19"),
    "no Chinese": (
        lambda records: [item for item in records if item.language == "en"],
        "the languages are en, zh",
        "missing: zh",
    ),
    "little English": (
        lambda records: [*records[:2], *(replace(item, language="zh") for item in records[2:])],
        "share of en: 0.5 to 0.9",
        "0.025",
    ),
    "little Chinese": (
        lambda records: [*records[:1], *(item for item in records if item.language == "en")],
        "share of zh: 0.1 to 1",
        "0.0323",
    ),
    "no pictures": (
        lambda records: [replace(item, messages=TWO, images=()) for item in records[:10]] + records[10:],
        "share of records without images: 0 to 0.2",
        "0.25",
    ),
    "repeats": (
        lambda records: [*records, *(replace(item, id=f"again{item.id}") for item in records[:4])],
        "share of records that repeat an earlier one: 0 to 0.05",
        "0.0909",
    ),
    "much of one language": (
        lambda records: [replace(item, copies=1 + 30 * (item.language == "zh")) for item in records],
        "share of en: 0.5 to 0.9",
        "0.0882",
    ),
    "long": (change(3, positions=126), "no record takes more than 100 positions", "126"),
    "small": (
        change(3, images=(Image("1.jpg", picture(1, 15, 40)),)),
        "no image has fewer than 16 pixels on a side",
        "15",
    ),
    "large": (
        change(3, images=(Image("1.jpg", picture(1, 201, 40)),)),
        "no image has more than 200 pixels on a side",
        "201",
    ),
}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> list[Finding]:
    folder = tmp_path_factory.mktemp("splits")
    for name, (plant, _, _) in PLANTS.items():
        write(folder / name, plant(good()))
    splits = {name: pd.concat(read_metadata(folder / name)) for name in PLANTS}
    return check_splits(splits, PARAMS, LANGUAGES, MAX_LENGTH, folder / "docs")


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_violation_misses_its_expectation(findings: list[Finding], name: str) -> None:
    _, expectation, observed = PLANTS[name]
    missed = {item.expectation: item.observed for item in findings if item.split == name and not item.passed}
    if expectation:
        assert missed[expectation] == observed
    else:
        assert missed == {}


def test_a_split_without_images_needs_no_sizes(tmp_path: Path) -> None:
    texts = [
        replace(item, messages=say(("user", item.id), ("assistant", "It.")), images=()) for item in good()
    ]
    prepared(tmp_path, texts)
    metrics = run(tmp_path, PARAMS.model_copy(update={"max_text_only_share": 1.0}))
    assert (metrics["sft"]["text_only_share"], metrics["sft"]["expectations"]) == (1.0, 7)


def test_a_missed_expectation_stops_it(tmp_path: Path) -> None:
    prepared(tmp_path, PLANTS["little English"][0](good()))
    (tmp_path / "stamp.json").write_text("of an earlier run")
    with pytest.raises(ParrotError) as error:
        run(tmp_path)
    assert str(error.value).splitlines() == [
        f"expectations missed: 1, see {tmp_path / 'reports' / 'data_docs' / 'index.html'}:",
        "  sft: share of en: 0.5 to 0.9; found 0.025",
        "correct the data or its sources, or the limits in params.yaml's `validate`",
    ]
    assert not (tmp_path / "stamp.json").exists()
    assert json.loads((tmp_path / "metrics.json").read_text())["sft"]["failed_expectations"] == 1


def test_text_that_is_not_utf8_is_a_finding(tmp_path: Path) -> None:
    write(tmp_path / "sft", good())
    [shard] = find_shards(tmp_path / "sft")
    pq.write_table(pq.read_table(shard), shard, compression="none")
    shard.write_bytes(shard.read_bytes().replace(b"Number 3.", b"Number \xff."))
    seal(shard)
    [frame] = read_metadata(tmp_path / "sft")
    found = contract_failures(contract(PARAMS, LANGUAGES, MAX_LENGTH), frame)
    assert ("r3", "broken_texts") in zip(found["record"], found["field"], strict=True)


def test_a_wrong_stored_length_is_a_finding(tmp_path: Path) -> None:
    write(tmp_path / "sft", good())
    [shard] = find_shards(tmp_path / "sft")
    table = pq.read_table(shard)
    lengths = pa.array([1, *table["length"].to_pylist()[1:]], pa.int32())
    pq.write_table(table.set_column(5, RECORD_SCHEMA.field("length"), lengths).cast(RECORD_SCHEMA), shard)
    seal(shard)
    [frame] = read_metadata(tmp_path / "sft")
    found = contract_failures(contract(PARAMS, LANGUAGES, MAX_LENGTH), frame)
    assert list(zip(found["record"], found["field"], strict=True)) == [("r0", "length_error")]


def test_many_failures_are_counted_and_few_are_shown(tmp_path: Path) -> None:
    prepared(tmp_path, [replace(item, messages=TWO) for item in good()])
    with pytest.raises(ParrotError, match="breaches of the contract: 40") as error:
        run(tmp_path)
    assert str(error.value).count("unplaced_images") == 5
    assert len(failures(tmp_path)) == 40


def test_a_damaged_shard_stops_it(tmp_path: Path) -> None:
    prepared(tmp_path)
    [shard] = find_shards(tmp_path / "prepared" / "sft")
    content = shard.read_bytes()
    shard.write_bytes(content.replace(b"Number 7", b"Number 8", 1))
    with pytest.raises(ParrotError, match=r"damaged: 'messages' of row group 0 .* run the stage prepare"):
        run(tmp_path)
    assert not (tmp_path / "stamp.json").exists()


def test_nothing_to_validate(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match=r"align: holds no shards .*; run the stage prepare"):
        run(tmp_path)
