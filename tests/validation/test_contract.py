"""Every breach of the contract that is planted in a record is found, and none in good ones."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from talks import IMAGES, LANGUAGES, MAX_LENGTH, TWO, Plant, change, good, picture, say
from written_mixtures import SHARD, MixedRecord, indexed, write_mixture

from parrot.config import Speed
from parrot.data.checksums import seal
from parrot.data.records import Image
from parrot.data.shards import index_table, write_index
from parrot.validation.contract import contract, contract_failures
from parrot.validation.metadata import as_frame, read_measures


def frame_of(folder: Path, records: list[MixedRecord]) -> pd.DataFrame:
    return measured(*write_mixture(folder, records))


def measured(prepared: Path, mixture: Path) -> pd.DataFrame:
    speed = Speed(workers=0, inference_batch_size=1, inference_processes=1)
    [measures] = read_measures(prepared, mixture, speed=speed, work=mixture.parent / "work")
    return as_frame(measures)


def breaches(frame: pd.DataFrame) -> pd.DataFrame:
    return contract_failures(contract(LANGUAGES, IMAGES, MAX_LENGTH), frame)


@pytest.mark.parametrize(
    ("plant", "field"),
    [
        (change(3, language="xx"), "language"),
        (change(3, id=""), "id"),
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
    found = breaches(frame_of(tmp_path, plant(good())))
    [row] = found[found["field"] == field].to_dict("records")
    assert (row["shard"], row["source"]) == (SHARD, "talk")
    assert row["record"] == ("" if field == "id" else "r3")


def test_good_records_break_nothing_in_any_order(tmp_path: Path) -> None:
    led = say(("system", "One word."), ("user", "<image>"), ("assistant", "It."))
    apart = say(("user", "Left: <image> right: <image>?"), ("assistant", "Equal."))
    pictures = (Image("8.jpg", picture(8)), Image("9.jpg", picture(9)))
    records = change(3, messages=led)(change(4, messages=apart, images=pictures, copies=3)(good()))
    frame = frame_of(tmp_path, records)
    assert breaches(frame.sample(frac=1, random_state=1)).empty


def test_a_record_is_held_to_it_as_the_mixture_cuts_it(tmp_path: Path) -> None:
    asked = say(("user", "<image>\nWhat?"), ("assistant", "It."), ("user", "<image>?"), ("assistant", " "))
    pictures = (Image("1.jpg", picture(1)), Image("2.jpg", b"no picture"))
    records = change(3, messages=asked, images=pictures)(good())
    prepared, mixture = write_mixture(tmp_path, records)
    whole = measured(prepared, mixture)
    assert set(breaches(whole)["field"]) == {"empty_texts", "unreadable_images"}
    rows = indexed(records)
    rows[3] = rows[3]._replace(turns=2, length=len("\nWhat?It."))
    write_index(mixture, [index_table(rows)])
    cut = measured(prepared, mixture)
    assert breaches(cut).empty
    assert cut["turns"][3] == 2


def test_text_that_is_not_utf8_is_a_finding(tmp_path: Path) -> None:
    prepared, mixture = write_mixture(tmp_path, good())
    shard = prepared / SHARD
    pq.write_table(pq.read_table(shard), shard, compression="none")
    shard.write_bytes(shard.read_bytes().replace(b"Number 3.", b"Number \xff."))
    seal(shard)
    frame = measured(prepared, mixture)
    found = breaches(frame)
    assert ("r3", "broken_texts") in zip(found["record"], found["field"], strict=True)


def test_a_wrong_length_in_the_index_is_a_finding(tmp_path: Path) -> None:
    prepared, mixture = write_mixture(tmp_path, good())
    first, *others = indexed(good())
    write_index(mixture, [index_table([first._replace(length=1), *others])])
    frame = measured(prepared, mixture)
    found = breaches(frame)
    assert list(zip(found["record"], found["field"], strict=True)) == [("r0", "length_error")]
