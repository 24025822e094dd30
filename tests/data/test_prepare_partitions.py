"""A source in partitions: where each entry goes, and the same bytes however and wherever they are made."""

import base64
import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_sources import (
    changed,
    conversation,
    digests,
    picture,
    small_world,
    write_json_list,
)
from stage_outputs import rejects

from parrot.data.images import decode_within
from parrot.data.partitions import read_partitions
from parrot.data.prepare import prepare
from parrot.data.sources import reading
from parrot.errors import ParrotError


def test_a_partition_of_a_file_is_a_shard_and_every_entry_has_its_place(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    items = [conversation(number) for number in range(20)]
    items[3] = conversation(3, answer=" ")
    items[16] = conversation(16, answer=" ")
    write_json_list(tmp_path / "talk" / "en.json", items)
    chinese = [conversation(number) for number in range(20, 29)] + [conversation(29, answer=" ")]
    write_json_list(tmp_path / "talk" / "zh.json", chinese)
    world.prepare_source("talk")
    folder = world.prepared("align") / "talk"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "mended.parquet", *(f"part-0000{number}.parquet" for number in range(5)),
        "partitions.parquet", "pictures", "rejects.parquet",
    ]  # fmt: skip
    assert read_partitions(folder) == [
        ("en", "part-00000.parquet", 8, [3], []), ("en", "part-00001.parquet", 8, [], []),
        ("en", "part-00002.parquet", 4, [0], []), ("zh", "part-00003.parquet", 8, [], []),
        ("zh", "part-00004.parquet", 2, [1], []),
    ]  # fmt: skip
    found = [(row["language"], row["record"], row["position"]) for row in rejects(world, "talk")]
    assert found == [("en", "c3", 3), ("en", "c16", 16), ("zh", "c29", 9)]
    assert json.loads(rejects(world, "talk")[0]["entry"]) == items[3]


@pytest.mark.parametrize("as_uri", [False, True])
def test_pictures_in_the_entries_end_a_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_uri: bool
) -> None:
    talk = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "It."}]
    held: list[Any] = [picture(number) for number in range(10, 15)]
    if as_uri:
        held = [f"data:image/jpeg;base64,{base64.b64encode(one).decode()}" for one in held]
    monkeypatch.setattr("parrot.data.parts._HELD", max(map(len, held)) + 1)
    items = [{"messages": talk, "images": [one if as_uri else {"bytes": one}]} for one in held]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(items), path)
    world = small_world(tmp_path).only([])
    only = changed(world.sources["only"], format="chat", path=str(path), images=str(path))
    world = replace(world, sources=world.sources | {"only": only})
    assert world.prepare_source("only")["kept"] == 5
    found = read_partitions(world.prepared("align") / "only")
    assert [partition.entries for partition in found] == [2, 2, 1]
    first = digests(world.prepared("align"))
    replace(world, speed=changed(world.speed, prepare_processes=2)).prepare_source("only")
    assert digests(world.prepared("align")) == first


def test_same_inputs_same_bytes(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    world.prepare_source("talk")
    first = digests(world.prepared("align"))
    world.prepare_source("talk")
    assert digests(world.prepared("align")) == first


KILLED_AT_A_PICTURE = """
import os, signal
from pathlib import Path
from parrot.config import Images, Prepare, Source, Speed
from parrot.data import prepare as module
from parrot.data.sources import reading
folder = Path({folder!r})
check, seen = reading.decode_within, []
def decode_within(*arguments):
    seen.append(arguments)
    if len(seen) == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    return check(*arguments)
reading.decode_within = decode_within
module.prepare(
    ["en", "zh"], Images(max_megapixels=1.0, min_pixels=8, max_pixels=2000),
    Prepare(partition_records=5, max_reject_share=0.1), {{"talk": Source(**{source!r})}},
    Speed(workers=0, inference_batch_size=1, inference_processes=1), source="talk",
    output=folder / "out", metrics=folder / "metrics.json", work=folder / "work",
)
"""


def test_a_killed_run_goes_on_behind_the_last_whole_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = replace(
        small_world(tmp_path), prepare=changed(small_world(tmp_path).prepare, partition_records=5)
    )
    script = KILLED_AT_A_PICTURE.format(folder=str(tmp_path), source=world.sources["talk"].model_dump())
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    done = digests(tmp_path / "work")
    assert {name.partition("/")[0] for name in done if not name.startswith(".")} == {
        "part-00000",
        "part-00001",
    }
    checked = []
    monkeypatch.setattr(
        reading, "decode_within", lambda *given: checked.append(given) or decode_within(*given)
    )
    arguments: Any = (world.languages, world.images, world.prepare, world.sources, world.speed)
    for folder, decoded in (("out", 20), ("fresh", 30)):
        checked.clear()
        prepare(
            *arguments,
            source="talk",
            output=tmp_path / folder,
            metrics=tmp_path / f"{folder}.json",
            work=tmp_path / ("work" if folder == "out" else "other"),
        )
        assert len(checked) == decoded
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "fresh.json").read_bytes()
    assert not list((tmp_path / "work").glob(".*"))


FLIPPED = bytes(255 - byte for byte in range(256))


@pytest.mark.parametrize("name", ["records", "partitions", "rejects", "mended"])
def test_a_partition_that_is_damaged_is_made_anew(name: str, tmp_path: Path) -> None:
    world = small_world(tmp_path)

    def made() -> dict[str, str]:
        prepare(
            world.languages, world.images, world.prepare, world.sources, world.speed, source="talk",
            output=tmp_path / "out", metrics=tmp_path / "metrics.json", work=tmp_path / "work",
        )  # fmt: skip
        return digests(tmp_path / "out")

    first = made()
    file = tmp_path / "work" / "part-00000" / f"{name}.parquet"
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:40].translate(FLIPPED) + whole[40:]):
        file.unlink()  # the output may be a link to it
        file.write_bytes(damaged)
        assert made() == first
        assert file.read_bytes() == whole


def test_any_number_of_processes_gives_the_same_bytes(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    (tmp_path / "talk" / "en.json").write_text(
        (tmp_path / "talk" / "en.json").read_text().replace('"Number 3."', '" "'), encoding="utf-8"
    )
    assert world.prepare_source("talk")["rejected"] == {"total": 1, "empty text": 1}
    first = digests(world.prepared("align"))
    several = replace(world, speed=changed(world.speed, prepare_processes=2))
    several.prepare_source("talk")
    assert digests(world.prepared("align")) == first


def test_a_work_folder_on_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = small_world(tmp_path)
    world.prepare_source("talk")
    first = digests(world.prepared("align"))

    def link(*_: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    world.prepare_source("talk")
    assert digests(world.prepared("align")) == first


@pytest.mark.parametrize(
    "call", ["parts.write_shard", "prepare.write_partitions", "prepare._place", "prepare.write_json"]
)
def test_a_full_disk_is_a_sentence_and_leaves_the_old_outputs(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(tmp_path)
    world.prepare_source("talk")
    before = digests(world.prepared("align")), digests(tmp_path / "metrics")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"parrot.data.{call}", full)
    with pytest.raises(ParrotError, match=r"no space left while writing .*; free some there and start again"):
        world.prepare_source("talk")
    assert (digests(world.prepared("align")), digests(tmp_path / "metrics")) == before
