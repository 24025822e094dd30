import pickle
import random
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_sources import picture

from parrot.data.checksums import seal
from parrot.data.records import RECORD_SCHEMA, Image, Message, Record, text_length
from parrot.data.shards import GROUP_BYTES, RecordDataset, ShardWriter, iterate
from parrot.errors import ParrotError


def record(number: int, size: int = 0) -> Record:
    content = "<image>\n" * (number % 3) + "Was ist größer? " * (number % 5 + 1)
    images = tuple(Image(f"{n}.jpg", picture(number + n) + bytes(size)) for n in range(number % 3))
    language = ("en", "zh")[number % 2]
    return Record(f"r{number}", "s", language, (Message("user", content), Message("assistant", "是")), images)


def write(folder: Path, records: list[Record], shard_bytes: int = 1 << 20) -> Path:
    writer = ShardWriter(folder, shard_bytes)
    for item in records:
        writer.write(item)
    writer.close()
    return folder


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [record(number, size=2000) for number in range(500)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> Path:
    return write(tmp_path_factory.mktemp("shards") / "sft", records, shard_bytes=300_000)


def check(row: dict[str, object], expected: Record) -> None:
    assert (row["id"], row["source"], row["language"]) == (expected.id, "s", expected.language)
    assert row["messages"] == [{"role": m.role, "content": m.content} for m in expected.messages]
    assert row["images"] == [image.bytes for image in expected.images]
    assert row["length"] == text_length(expected.messages)


def test_random_access_finds_every_record(folder: Path, records: list[Record]) -> None:
    dataset = RecordDataset(folder)
    assert len(list(folder.iterdir())) == 5
    assert len(dataset) == 500
    assert dataset.lengths == [text_length(item.messages) for item in records]
    assert dataset.languages == [item.language for item in records]
    for index in random.Random(1).sample(range(500), 100):
        check(dataset[index], records[index])
    check(dataset[-1], records[-1])
    for index in (500, -501):
        with pytest.raises(IndexError, match="has 500 records"):
            dataset[index]


def test_a_pickled_data_set_reads_on(folder: Path, records: list[Record]) -> None:
    dataset = RecordDataset(folder)
    check(dataset[3], records[3])
    copy = pickle.loads(pickle.dumps(dataset))
    check(copy[499], records[499])


def test_workers_of_a_data_loader(folder: Path, records: list[Record]) -> None:
    from torch.utils.data import DataLoader

    dataset = RecordDataset(folder)
    check(dataset[0], records[0])
    loader: DataLoader[dict[str, object]] = DataLoader(dataset, batch_size=50, num_workers=2, collate_fn=list)
    rows = [row for batch in loader for row in batch]
    assert [row["id"] for row in rows] == [item.id for item in records]


def test_row_groups_stay_small(tmp_path: Path) -> None:
    folder = write(tmp_path / "align", [record(3 * n + 1, size=150_000) for n in range(30)], 1 << 30)
    [shard] = folder.iterdir()
    metadata = pq.ParquetFile(shard).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert all(group.total_byte_size <= 1.01 * GROUP_BYTES for group in groups)
    assert sum(group.num_rows for group in groups) == 30
    few = pq.ParquetFile(next(write(tmp_path / "sft", [record(0)] * 250).iterdir())).metadata
    assert [few.row_group(number).num_rows for number in range(few.num_row_groups)] == [100, 100, 50]


def test_a_shard_is_what_the_viewer_reads(folder: Path) -> None:
    file = pq.ParquetFile(sorted(folder.iterdir())[0])
    assert file.schema_arrow.equals(RECORD_SCHEMA, check_metadata=False)
    assert b"huggingface" in file.schema_arrow.metadata
    group = file.metadata.row_group(0)
    assert {group.column(number).compression for number in range(group.num_columns)} == {"UNCOMPRESSED"}


def test_iterate_goes_from_end_to_end(folder: Path, records: list[Record]) -> None:
    ids, shards = [], []
    for shard, batch in iterate(folder, ["id"]):
        assert batch.schema.names == ["id"]
        ids += batch.column("id").to_pylist()
        shards.append(shard.name)
    assert ids == [item.id for item in records]
    assert sorted(set(shards)) == [f"sft-0000{n}-of-00005.parquet" for n in range(5)]


def test_folders_that_are_no_shards(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match="holds no shards"):
        RecordDataset(tmp_path)
    name = tmp_path / "x-00000-of-00001.parquet"
    name.write_bytes(b"no parquet")
    with pytest.raises(ParrotError, match="damaged, or not a shard"):
        RecordDataset(tmp_path)
    name.write_bytes(b"")
    with pytest.raises(ParrotError, match="damaged, or not a shard"):
        RecordDataset(tmp_path)
    pq.write_table(pa.table({"id": ["a"]}), name)
    with pytest.raises(ParrotError, match="damaged, or not a shard"):
        RecordDataset(tmp_path)
    seal(name)
    with pytest.raises(ParrotError, match="not a shard of records"):
        list(iterate(tmp_path))


def test_copies_are_counted_and_not_stored(tmp_path: Path, records: list[Record]) -> None:
    once = write(tmp_path / "once", records[:120])
    weighed = [replace(item, copies=number % 4) for number, item in enumerate(records[:120])]
    dataset = RecordDataset(write(tmp_path / "weighed", weighed))
    expected = [item for item in weighed for _ in range(item.copies)]
    assert len(dataset) == len(dataset.lengths) == len(dataset.languages) == 180
    assert [row["id"] for row in dataset] == [item.id for item in expected]
    assert dataset.lengths == [text_length(item.messages) for item in expected]
    sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in (once, dataset.folder)]
    assert abs(sizes[1] - sizes[0]) < 1000


def read_all(folder: Path) -> tuple[object, ...]:
    """All that training and validation see of a folder."""
    dataset = RecordDataset(folder)
    rows = list(dataset)
    batches = [batch.to_pylist() for _, batch in iterate(folder)]
    return rows, dataset.lengths, dataset.languages, batches


def mutated(content: bytes, draw: random.Random) -> bytes:
    """One change as disks, copies and people make them; the footer is hit as often as the rest."""
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    first, last = draw.choice([(0, len(content)), (0, footer), (footer, len(content))])
    place, length = draw.randrange(first, last), draw.choice([1, 1, 4, 100])
    match draw.choice(["bit", "bytes", "zeros", "cut", "insert", "remove", "double"]):
        case "bit":
            return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
        case "bytes":
            return content[:place] + draw.randbytes(length) + content[place + length :]
        case "zeros":
            return content[:place] + bytes(length) + content[place + length :]
        case "cut":
            return content[:place]
        case "insert":
            return content[:place] + draw.randbytes(length) + content[place:]
        case "remove":
            return content[:place] + content[place + length :]
        case _:
            return content[:place] + content[place : place + length] * 2 + content[place + length :]


def test_a_damaged_shard_is_refused_or_reads_unchanged(tmp_path: Path, records: list[Record]) -> None:
    folder = write(tmp_path / "sft", [replace(item, images=()) for item in records[:220]])
    [shard] = folder.iterdir()
    content, whole = shard.read_bytes(), read_all(folder)
    draw = random.Random(20240604)
    refused = 0
    for _ in range(400):
        shard.write_bytes(mutated(content, draw))
        try:
            assert read_all(folder) == whole
        except ParrotError as error:
            assert str(shard) in str(error)
            refused += 1
    assert refused > 350


def test_the_pages_carry_parquets_own_checksums(tmp_path: Path, records: list[Record]) -> None:
    [shard] = write(tmp_path / "sft", records[:50]).iterdir()
    content = shard.read_bytes()
    assert len(pq.read_table(shard, page_checksum_verification=True)) == 50
    shard.write_bytes(content.replace(b"Was ist gr", b"Wes ist gr", 1))
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(shard, page_checksum_verification=True)


def test_a_missing_shard_is_noticed(tmp_path: Path, records: list[Record]) -> None:
    folder = write(tmp_path / "sft", records, 300_000)
    sorted(folder.iterdir())[1].unlink()
    with pytest.raises(ParrotError, match="a shard is missing, there are 4"):
        RecordDataset(folder)
