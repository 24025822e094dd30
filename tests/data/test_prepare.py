"""Files of publishers become records, or rejects with a reason."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import starmap
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
    write_json_list,
)
from stage_outputs import rejects, rows

from parrot.data.digests import content_digests, digest
from parrot.data.images import decode_within
from parrot.data.prepare import prepare
from parrot.data.records import Message, Role, talk_of
from parrot.data.reject_tables import RejectsWriter, read_rejects
from parrot.data.rejects import Reject, kind
from parrot.data.sources import reading
from parrot.errors import ParrotError


def record_digest(messages: list[tuple[Role, str]], pictures: list[bytes]) -> bytes:
    [found] = content_digests(talk_of([list(starmap(Message, messages))]), [pictures])
    return found


def test_everything_arrives(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    metrics = world.prepare_source("talk")
    assert metrics == {
        "read": 30,
        "kept": 30,
        "mended": {"total": 0},
        "rejected": {"total": 0},
        "left_out": 0,
        "images": 30,
    }
    assert json.loads((tmp_path / "metrics" / "talk.json").read_text()) == metrics
    assert world.prepare_source("text")["images"] == 0
    found = {row["id"]: row for row in rows(world, "talk")}
    messages: list[tuple[Role, str]] = [("user", "<image>\nWhat is it?"), ("assistant", "Number 7.")]
    assert found["c7"] == {
        "id": "c7",
        "source": "talk",
        "language": "en",
        "messages": [{"role": role, "content": content} for role, content in messages],
        "images": [{"path": "7.jpg", "bytes": picture(7)}],
        "length": len("\nWhat is it?Number 7."),
        "digest": record_digest(messages, [digest(picture(7))]),
        "picture_digests": [digest(picture(7))],
        "looks": [],
    }
    assert found["c25"]["language"] == "zh"


def test_large_rejects_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parrot.data.reject_tables._BATCH_CHARACTERS", 20)
    given = [Reject("a", "en", str(place), "", "broken", place, 10 * "x") for place in range(5)]
    with RejectsWriter(tmp_path / "rejects.parquet") as rejects:
        for one in given:
            rejects.add(one)
    assert pq.read_metadata(tmp_path / "rejects.parquet").num_row_groups == 3
    assert list(read_rejects(tmp_path / "rejects.parquet")) == given


def test_a_picture_of_many_records_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr(
        reading, "decode_within", lambda *given: checked.append(given) or decode_within(*given)
    )
    items = [conversation(number % 3, answer=f"Number {number}.") for number in range(20)]
    world = small_world(tmp_path).only(items, {f"{number}.jpg": picture(number) for number in range(3)})
    assert world.prepare_source("only")["images"] == 20
    assert len(checked) == 3


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
    ],
)
def test_rejects(tmp_path: Path, entry: dict[str, Any], image: bytes | None, field: str, reason: str) -> None:
    images = {f"{number}.jpg": picture(number) for number in range(2, 30)} | {"1.jpg": image or picture(1)}
    items = [conversation(number) for number in range(2, 30)]
    world = small_world(tmp_path).only([*items, entry], images)
    metrics = world.prepare_source("only")
    [row] = rejects(world)
    assert (row["source"], row["record"], row["field"], kind(row["reason"])) == ("only", "c1", field, reason)
    assert metrics["rejected"] == {"total": 1, reason: 1}
    assert (metrics["read"], metrics["kept"], metrics["images"]) == (29, 28, 28)


def test_a_field_that_would_be_lost_is_refused_or_ignored_by_name(tmp_path: Path) -> None:
    items = [instruction(number) | {"history": ["a"]} for number in range(5)]
    world = small_world(tmp_path).only(items)
    with pytest.raises(ParrotError, match=r"5 of 5 entries rejected.*unknown field \(5\)"):
        world.prepare_source("only")
    assert {row["field"] for row in rejects(world)} == {"history"}
    assert world.only(items, ignore=["history"]).prepare_source("only")["kept"] == 5


def test_too_many_rejects_stop_it_and_leave_the_table(tmp_path: Path) -> None:
    items: list[Any] = [instruction(number) for number in range(20)]
    items += [{"instruction": f"{n}", "output": ""} for n in range(3)] + [7, 8]
    world = small_world(tmp_path).only(items)
    with pytest.raises(ParrotError) as error:
        world.prepare_source("only")
    folder = world.prepared("align") / "only"
    assert str(error.value) == (
        "only: 5 of 25 entries rejected, max_reject_share allows 0.1; mostly "
        f"empty text (3), wrong type (2); all are listed in {folder / 'rejects.parquet'}"
    )
    assert len(rejects(world)) == 5
    assert list(digests(folder)) == ["mended.parquet", "rejects.parquet"]
    assert json.loads((tmp_path / "metrics" / "only.json").read_text())["rejected"]["total"] == 5
    patient = replace(world, prepare=changed(world.prepare, max_reject_share=0.5))
    assert patient.prepare_source("only")["kept"] == 20


@pytest.mark.parametrize("missing", ["talk/zh.json", "images.zip"])
def test_missing_inputs_say_how_to_get_them_before_work_begins(tmp_path: Path, missing: str) -> None:
    world = small_world(tmp_path)
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(ParrotError, match=f"{missing}: not found.*`parrot data`"):
        world.prepare_source("talk")
    assert not (tmp_path / "prepared").exists()


def test_a_folder_for_a_file_and_an_unknown_source(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    with pytest.raises(ParrotError, match="is a folder; a source is read from files"):
        world.only([], path=str(tmp_path)).prepare_source("only")
    with pytest.raises(ParrotError, match="sources: has no tlak, but talk, chat, text"):
        prepare(
            world.languages, world.images, world.prepare, world.sources, world.speed, source="tlak",
            output=tmp_path / "out", metrics=tmp_path / "m", work=tmp_path / "work",
        )  # fmt: skip


def test_a_file_read_by_two_sources_is_named(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    twice = replace(world, sources=world.sources | {"again": world.sources["talk"]})
    with pytest.raises(
        ParrotError, match=r"sources.talk: reads what again reads.* weigh the other in mix.align"
    ):
        twice.prepare_source("talk")


def test_an_empty_source(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match=r"only.json: no entries; correct sources.only"):
        small_world(tmp_path).only([]).prepare_source("only")


def test_broken_json_leaves_nothing(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    (tmp_path / "talk" / "zh.json").write_text('[{"id": 1},\n{"id": oops}]')
    with pytest.raises(ParrotError, match="line 2, column 8: broken JSON"):
        world.prepare_source("talk")
    assert not world.prepared("align").exists()


def test_pictures_beside_their_file_and_a_source_without(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "1.jpg").write_bytes(picture(1))
    write_json_list(tmp_path / "own" / "en.json", [conversation(1)])
    source = world.sources["talk"].model_copy(
        update={"path": str(tmp_path / "own"), "images": str(tmp_path / "own")}
    )
    own = replace(world, sources={"own": source}, languages=["en"])
    assert own.prepare_source("own")["images"] == 1
    items = [{"conversations": turns("Hi", "Ho")}, conversation(1)]
    bare = world.only(items, format="llava", path=str(write_json_list(tmp_path / "bare.json", items)))
    bare = replace(
        bare,
        sources={"only": bare.sources["only"].model_copy(update={"images": str(tmp_path / "bare.json")})},
    )
    with pytest.raises(ParrotError, match=r"1 of 2 entries rejected.*missing image \(1\)"):
        bare.prepare_source("only")


def test_it_takes_neither_torch_nor_transformers() -> None:
    """The stage starts in a fraction of a second."""
    script = "import sys, parrot.data.prepare; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
