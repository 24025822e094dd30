"""Entries in Parquet, in WebDataset's tars, and under a key of a JSON object."""

import gc
import gzip
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from read_source import read, records, texts
from small_sources import picture, turns

from parrot.data.records import Record
from parrot.data.rejects import Reject, kind
from parrot.data.sources import json_buffer
from parrot.data.sources.containers import read_entries
from parrot.data.sources.formats import known_formats
from parrot.data.sources.json_items import read_members
from parrot.errors import ParrotError


def test_members_are_read_as_json_loads_does(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for tree in ({}, {"a": []}, {"a": 1, "b": [1, [2], {"c": 3}], "d": {"e": [4]}}):
        file.write_text(json.dumps(tree, indent=1))
        expected = [
            (key, item)
            for key, value in tree.items()
            for item in (value if isinstance(value, list) else [value])
        ]
        assert list(read_members(file)) == expected
    for text, problem in (
        ("[1]", "expected an object"),
        ('{"a" 1}', "expected ':'"),
        ('{"a": [1}', "expected ','"),
        ('{"a": 1} 2', "text after the object"),
        ("{1: 2}", "expected a key"),
        ("{", "broken"),
    ):
        file.write_text(text)
        with pytest.raises(ParrotError, match=problem):
            list(read_members(file))


def test_pictures_in_parquet_and_shards_of_it(tmp_path: Path) -> None:
    for number in range(3):
        talk = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": f"{number}"}]
        rows = [{"messages": talk, "images": [{"bytes": picture(number), "path": "image.jpg"}]}]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"train-{number:05d}.parquet")
    source = {"format": "chat", "path": str(tmp_path), "files": "train-*.parquet"}
    found = records(source)
    assert [record.messages[1].content for record in found] == ["0", "1", "2"]
    assert [record.images[0].bytes for record in found] == [picture(number) for number in range(3)]
    (tmp_path / "train-00001.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ParrotError, match=r"train-00001\.parquet: not readable as Parquet"):
        read(source)
    with pytest.raises(ParrotError, match=r"x-\*.parquet: not found"):
        read(source | {"files": "x-*.parquet"})


def test_entries_are_counted_on_from_shard_to_shard(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"sh-{name}.jsonl").write_text('{"output": "1"}\n{"output": "2"}\n')
    entries = read_entries(tmp_path / "sh-*.jsonl", known_formats()["alpaca"])
    assert [position for position, _ in entries] == [0, 1, 2, 3]


def test_an_entry_without_parts_is_counted(tmp_path: Path) -> None:
    items = [{"id": 1, "image": "1.jpg", "caption": []}, {"id": 2, "image": "1.jpg", "caption": ["A cat."]}]
    (tmp_path / "a.json").write_text(json.dumps(items))
    (tmp_path / "1.jpg").write_bytes(picture(1))
    own = {"columns": {"response": "caption"}, "each": "caption", "ask": ["What?"]}
    found = read({"format": own, "path": str(tmp_path / "a.json"), "images": str(tmp_path)})
    assert [type(one) for one in found] == [Reject, Record]
    assert isinstance(found[0], Reject)
    assert (found[0].field, found[0].record) == ("caption", "1")


def test_a_broken_picture_is_found_though_another_has_its_name(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "It."}]
    pictures = [picture(1), picture(2)[:100]]
    rows = [{"messages": talk, "images": [{"bytes": one, "path": "image.jpg"}]} for one in pictures]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = read({"format": "chat", "path": str(tmp_path / "a.parquet")})
    assert isinstance(found[1], Reject)
    assert kind(found[1].reason) == "unreadable image"


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["00000.tar", "00000.tar.gz"])
def test_a_webdataset(tmp_path: Path, name: str) -> None:
    about = {"caption": "A cat.", "url": "https://example.org", "key": "0", "status": "success", "width": 8}
    members = {
        "0.jpg": picture(0), "0.txt": b"A cat.", "0.json": json.dumps(about).encode(),
        "1.json": b'{"caption": "A dog.", "NSFW": "UNLIKELY", "similarity": 0.3}', "1.jpg": picture(1),
    }  # fmt: skip
    path = write_tar(tmp_path / name, members)
    found = read({"format": "webdataset", "path": str(path)})
    assert isinstance(found[0], Record)
    assert (found[0].id, texts(found[0])[1], found[0].images[0].bytes) == ("0", "A cat.", picture(0))
    assert isinstance(found[1], Record), found[1]
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ParrotError, match="a tar that is broken or ends early"):
        read({"format": "webdataset", "path": str(path)})


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_tar_that_is_not_whole_is_no_shorter_source(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{number}.txt": b"It." for number in range(10)})
    content = path.read_bytes()
    header = content.index(b"3.txt")
    flipped = bytearray(content)
    flipped[header] ^= 1
    broken = (flipped, content[:header], content[: header + 100], content[: header + 514])
    for one in broken:
        path.write_bytes(pack(bytes(one)))
        with pytest.raises(ParrotError, match=r"a\.tar: a tar that is broken or ends early"):
            list(read_entries(path, known_formats()["webdataset"]))


def test_half_of_a_compressed_tar_is_no_shorter_source(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar.gz", {f"{number}.jpg": picture(number) for number in range(50)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ParrotError, match=r"a\.tar\.gz: a tar that is broken or ends early"):
        list(read_entries(path, known_formats()["webdataset"]))


def test_a_broken_sample_takes_no_other_with_it(tmp_path: Path) -> None:
    members = {
        "0.json": b'{"caption": ', "0.jpg": picture(0), "1.txt": b"One.", "1.jpg": picture(1),
        "2.txt": b"\xff", "2.jpg": picture(2), "3.txt": b"Three.", "3.jpg": picture(3), "3.JPG": picture(4),
    }  # fmt: skip
    found = read({"format": "webdataset", "path": str(write_tar(tmp_path / "a.tar", members))})
    reasons = [one.reason if isinstance(one, Reject) else one.id for one in found]
    assert reasons[0].startswith("broken sample: 0.json: Expecting value")
    assert reasons[1] == "1"
    assert reasons[2].startswith("broken sample: 2.txt: 'utf-8'")
    assert reasons[3] == "broken sample: 3.JPG: another file of the sample ends so"


def test_a_sample_that_says_two_things_of_the_same_is_refused(tmp_path: Path) -> None:
    members = {
        "0.jpg": picture(0), "0.json": b'{"caption": "first", "caption": "second"}',
        "1.jpg": picture(1), "1.txt": b"file says", "1.json": b'{"txt": "json says"}',
        "2.json": b'{"__key__": "000002", "caption": "c"}', "2.jpg": picture(2),
        "3.jpg": picture(3), "3.txt": b"the same", "3.json": b'{"__key__": "3", "txt": "the same"}',
    }  # fmt: skip
    found = read({"format": "webdataset", "path": str(write_tar(tmp_path / "a.tar", members))})
    assert [one.reason.partition(", ")[0] if isinstance(one, Reject) else one.id for one in found] == [
        "doubled key: which of its values counts",
        "broken sample: 1.json: its field 'txt' differs from the sample's own",
        "broken sample: 2.json: its field '__key__' differs from the sample's own",
        "3",
    ]


def test_members_of_a_webdataset_are_not_kept(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{number}.txt": b"It." for number in range(200)})
    entries = read_entries(path, known_formats()["webdataset"])
    assert len(list(islice(entries, 150))) == 150
    assert sum(type(one) is tarfile.TarInfo for one in gc.get_objects()) < 10


def test_a_list_under_a_key_is_not_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_buffer, "CHUNK", 1 << 16)
    tree = {"annotations": [{"image_id": str(number), "caption": "x" * 200} for number in range(20_000)]}
    path = tmp_path / "filter_cap.json"
    path.write_text(json.dumps(tree))
    tracemalloc.start()
    count = sum(1 for _ in read_entries(path, known_formats()["cc_sbu_align"]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < path.stat().st_size / 5


def test_conversations_in_a_webdataset(tmp_path: Path) -> None:
    talk = {"conversations": turns("<image>What?", "One.")}
    path = write_tar(tmp_path / "a.tar", {"x/0.json": json.dumps(talk).encode(), "x/0.png": picture(1)})
    own = {"columns": {"messages": "conversations", "images": ["png", "jpg"]}, "ignore": ["__key__"]}
    [record] = records({"format": own, "path": str(path)})
    assert (texts(record), record.images[0].bytes) == (["<image>\nWhat?", "One."], picture(1))
