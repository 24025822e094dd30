import pickle
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_sources import picture, write_mixture

from parrot.data.checksums import seal
from parrot.data.columns import read_rows
from parrot.data.records import RECORD_SCHEMA, Image, Message, Record, text_length
from parrot.data.shards import (
    GROUP_BYTES,
    TRAINED_ON,
    Indexed,
    RecordDataset,
    ShardRows,
    index_table,
    open_shard,
    write_index,
    write_shard,
)
from parrot.errors import ParrotError


def record(number: int, size: int = 0, source: str = "s") -> Record:
    content = "<image>\n" * (number % 3) + "Was ist größer? " * (number % 5 + 1)
    images = tuple(Image(f"{n}.jpg", picture(number + n) + bytes(size)) for n in range(number % 3))
    language = ("en", "zh")[number % 2]
    turns = (
        Message("user", content),
        Message("assistant", "是"),
        Message("user", "?"),
        Message("assistant", "."),
    )
    return Record(f"r{number}", source, language, turns, images)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [record(number, size=2000) for number in range(500)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> tuple[Path, Path]:
    return write_mixture(tmp_path_factory.mktemp("shards"), records)


def check(row: dict[str, object], expected: Record) -> None:
    assert row == {
        "id": expected.id,
        "source": "s",
        "language": expected.language,
        "messages": [{"role": m.role, "content": m.content} for m in expected.messages],
        "images": [image.bytes for image in expected.images],
    }


def test_random_access_finds_every_record(folders: tuple[Path, Path], records: list[Record]) -> None:
    dataset = RecordDataset(*folders)
    assert len(dataset) == 500
    assert dataset.lengths == [text_length(item.messages) for item in records]
    assert dataset.languages == [item.language for item in records]
    for index in random.Random(1).sample(range(500), 100):
        check(dataset[index], records[index])
    check(dataset[-1], records[-1])
    for index in (500, -501):
        with pytest.raises(IndexError, match="has 500 samples"):
            dataset[index]


def test_a_pickled_data_set_reads_on(folders: tuple[Path, Path], records: list[Record]) -> None:
    dataset = RecordDataset(*folders)
    check(dataset[3], records[3])
    content = pickle.dumps(dataset)
    assert len(content) < 50_000
    check(pickle.loads(content)[499], records[499])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader(folders: tuple[Path, Path], records: list[Record], method: str) -> None:
    from torch.utils.data import DataLoader

    dataset = RecordDataset(*folders)
    check(dataset[0], records[0])
    loader: DataLoader[dict[str, object]] = DataLoader(
        dataset, batch_size=50, num_workers=1, collate_fn=list, multiprocessing_context=method
    )
    rows = [row for batch in loader for row in batch]
    assert [row["id"] for row in rows] == [item.id for item in records]


def test_row_groups_stay_small(tmp_path: Path) -> None:
    shard = tmp_path / "large.parquet"
    assert write_shard(shard, [record(3 * n + 1, size=150_000) for n in range(30)]) == 30
    metadata = pq.ParquetFile(shard).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert all(group.total_byte_size <= 1.01 * GROUP_BYTES for group in groups)
    assert sum(group.num_rows for group in groups) == 30
    write_shard(shard, [record(0)] * 250)
    few = pq.ParquetFile(shard).metadata
    assert [few.row_group(number).num_rows for number in range(few.num_row_groups)] == [100, 100, 50]


def test_a_shard_is_what_the_viewer_reads(folders: tuple[Path, Path]) -> None:
    file = pq.ParquetFile(folders[0] / "s" / "part-00000.parquet")
    assert file.schema_arrow.equals(RECORD_SCHEMA, check_metadata=False)
    assert b"huggingface" in file.schema_arrow.metadata
    group = file.metadata.row_group(0)
    assert {group.column(number).compression for number in range(group.num_columns)} == {"UNCOMPRESSED"}


def test_a_shard_of_no_records(tmp_path: Path) -> None:
    assert write_shard(tmp_path / "none.parquet", []) == 0
    assert len(pq.read_table(tmp_path / "none.parquet")) == 0


def scattered(folder: Path) -> tuple[Path, Path, list[str]]:
    """Two sources of two shards each, every second record left out, in one order; the ids in this order."""
    for source in "ab":
        (folder / "prepared" / source).mkdir(parents=True)
        for part in range(2):
            records = [record(300 * part + number, source=source) for number in range(300)]
            write_shard(folder / "prepared" / source / f"part-{part}.parquet", records)
    (folder / "mixture").mkdir()
    draw = random.Random(1)
    left = {source: list(range(0, 600, 2)) for source in "ab"}
    index = []
    while any(left.values()):
        source = draw.choice([source for source, numbers in left.items() if numbers])
        number = left[source].pop(0)
        shard = f"{source}/part-{number // 300}.parquet"
        index.append(Indexed(shard, number % 300, f"{source}{number}", source, "en", 1, 1, number % 4, 2))
    write_index(folder / "mixture", [index_table(index)])
    return folder / "prepared", folder / "mixture", [row.id for row in index]


def test_a_mixture_of_several_shards_is_read_in_its_order(tmp_path: Path) -> None:
    prepared, mixture, ids = scattered(tmp_path)
    dataset = RecordDataset(prepared, mixture)
    expected = [name for name in ids for _ in range(int(name[1:]) % 4)]
    assert len(dataset) == len(dataset.lengths) == len(dataset.languages) == len(expected)
    assert [row["id"] for row in dataset] == expected
    for row in (dataset[0], dataset[50]):  # cut to a question and its answer
        number = int(row["id"][1:])
        assert [turn["content"] for turn in row["messages"]] == [
            turn.content for turn in record(number).messages[:2]
        ]
        assert len(row["images"]) == number % 3


def test_pictures_that_are_cut_off_are_left_out(tmp_path: Path) -> None:
    turns = ("<image> <image>?", "Yes.", "<image>?", "No.")
    messages = [Message("assistant" if n % 2 else "user", text) for n, text in enumerate(turns)]
    images = tuple(Image(f"{number}.jpg", picture(number)) for number in range(3))
    prepared, mixture = write_mixture(tmp_path, [Record("r", "s", "en", tuple(messages), images)])
    row = Indexed("s/part-00000.parquet", 0, "r", "s", "en", 1, 1, 1, turns=2)
    write_index(mixture, [index_table([row])])
    assert RecordDataset(prepared, mixture)[0]["images"] == [picture(0), picture(1)]


def test_text_that_is_no_utf_8_reads_as_lost_characters(tmp_path: Path, records: list[Record]) -> None:
    """A shard that another program wrote and sealed."""
    prepared, _ = write_mixture(tmp_path, records[:3])
    shard = prepared / "s" / "part-00000.parquet"
    pq.write_table(pq.read_table(shard), shard, use_dictionary=False, compression="none")
    shard.write_bytes(shard.read_bytes().replace("größer".encode(), "größer".encode()[:2] + b"\xff" * 6))
    seal(shard)
    rows = ShardRows(shard, TRAINED_ON)
    for number in range(3):
        assert "gr" + "\N{REPLACEMENT CHARACTER}" * 6 in rows.row(number)["messages"][0]["content"]


def test_folders_that_are_no_mixtures(tmp_path: Path, records: list[Record]) -> None:
    prepared, mixture = write_mixture(tmp_path, records[:10])
    shard, index = prepared / "s" / "part-00000.parquet", mixture / "index.parquet"
    for file, problem in ((shard, "not a shard of records"), (index, "not the index of a mixture")):
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(ParrotError, match=f"{file.name}: not readable"):
            RecordDataset(prepared, mixture)
        for damaged in (b"no parquet", b""):
            file.write_bytes(damaged)
            with pytest.raises(ParrotError, match=f"{file.name}: damaged, or another file"):
                RecordDataset(prepared, mixture)
        pq.write_table(pa.table({"id": ["a"]}), file)
        with pytest.raises(ParrotError, match="damaged, or another file"):
            RecordDataset(prepared, mixture)
        seal(file)
        with pytest.raises(ParrotError, match=problem):
            RecordDataset(prepared, mixture)
        file.write_bytes(content)
    write_shard(shard, records[:5])
    with pytest.raises(ParrotError, match="has 5 rows, none has number 9"):
        RecordDataset(prepared, mixture)[9]
    with pytest.raises(ParrotError, match="has 5 rows, none has number 9"):
        read_rows(open_shard(shard), np.array([2, 9]), ["id"])
    assert read_rows(open_shard(shard), np.array([4, 1]), ["id"])["id"].to_pylist() == ["r4", "r1"]


def read_all(folders: tuple[Path, Path]) -> tuple[object, ...]:
    """All that training and validation see."""
    dataset = RecordDataset(*folders)
    return list(dataset), dataset.lengths, dataset.languages


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


@pytest.mark.parametrize("which", ["shard", "index"])
def test_a_damaged_file_is_refused_or_reads_unchanged(
    tmp_path: Path, records: list[Record], which: str
) -> None:
    few = [record(3 * number) for number in range(110)]
    folders = write_mixture(tmp_path, few)
    file = folders[0] / "s" / "part-00000.parquet" if which == "shard" else folders[1] / "index.parquet"
    content, whole = file.read_bytes(), read_all(folders)
    draw = random.Random(20240604)
    refused = 0
    for _ in range(200):
        file.write_bytes(mutated(content, draw))
        try:
            assert read_all(folders) == whole
        except ParrotError as error:
            assert str(file) in str(error)
            refused += 1
    assert refused > 175


def test_the_pages_carry_parquets_own_checksums(tmp_path: Path, records: list[Record]) -> None:
    shard = tmp_path / "shard.parquet"
    write_shard(shard, records[:50])
    content = shard.read_bytes()
    assert len(pq.read_table(shard, page_checksum_verification=True)) == 50
    shard.write_bytes(content.replace(b"Was ist gr", b"Wes ist gr", 1))
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(shard, page_checksum_verification=True)
