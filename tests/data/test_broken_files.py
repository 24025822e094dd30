"""Broken files of annotations: the file and the place are named; what is only unusual is read."""

import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checked import look_through
from small_sources import instruction, picture

from parrot.errors import ParrotError

ENTRIES = [instruction(number) for number in range(3)]
LIST = json.dumps(ENTRIES, indent=1).encode()
LINES = "\n".join(map(json.dumps, ENTRIES)).encode() + b"\n"
READ: dict[str, bytes] = {
    "a byte order mark": b"\xef\xbb\xbf" + LIST,
    "lines with a byte order mark": b"\xef\xbb\xbf" + LINES,
    "line endings of Windows": LIST.replace(b"\n", b"\r\n"),
    "mixed line endings": LINES.replace(b"\n", b"\r\n", 1),
    "old line endings of Macs": LIST.replace(b"\n", b"\r"),
    "empty lines": LINES.replace(b"\n", b"\n\n\n"),
    "no newline at the end": LINES.rstrip(),
    "a list on one line": json.dumps(ENTRIES).encode(),
    "escapes for all that is not ASCII": json.dumps([instruction(0) | {"output": "é"}] * 3).encode(),
}


@pytest.mark.parametrize("name", READ)
def test_unusual_files_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    path.write_bytes(READ[name])
    assert look_through(path, path, "alpaca") == (3, [])


BROKEN: dict[str, tuple[bytes, str]] = {
    "cut in the middle of an entry": (LIST[: len(LIST) // 2], r"line \d+, column \d+: broken JSON"),
    "cut between two entries": (LIST[: LIST.index(b"},") + 2], r"broken JSON"),
    "cut in the middle of a character": ('[{"a": "é'.encode()[:-1], r"not UTF-8"),
    "a comma too many": (LIST.replace(b"}\n]", b"},\n]"), r"line \d+, column \d+: broken JSON"),
    "a comma too few": (LIST.replace(b"},", b"}", 1), r"expected ',' or ']'"),
    "single quotes": (LIST.replace(b'"', b"'"), r"line 3, column 3: broken JSON"),
    "text behind the list": (LIST + b"done", r"text after the list"),
    "UTF-16": (LIST.decode().encode("utf-16"), r"not UTF-8"),
    "Latin-1": ('[{"instruction": "é"}]'.encode("latin-1"), r"column 19: not UTF-8"),
    "nothing but zeros": (bytes(4096), r"broken|no entries|zero"),
    "a web page": (b"<!DOCTYPE html><html>Quota exceeded</html>", r"line 1, column 1"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", r"line 1, column 1"),
    "nested without end": (b'[{"a":' + b"[" * 100_000, r"nested too deeply|broken JSON"),
    "a number of many digits": (b'[{"id": ' + b"9" * 5000 + b"}]", r"more than 4300 digits"),
    "a cut Parquet file": (b"PAR1" + bytes(100), r"not readable as Parquet"),
    "a cut archive": (gzip.compress(LIST, mtime=0)[:-20], r"broken or ends early"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_a_sentence(name: str, tmp_path: Path) -> None:
    content, sentence = BROKEN[name]
    path = tmp_path / "records.json"
    path.write_bytes(content)
    try:
        read, broken = look_through(path, path, "alpaca")
    except ParrotError as error:
        assert str(path) in str(error)
        assert re.search(sentence, str(error))
    else:  # lines are rejected one by one
        assert 0 < len(broken) <= read


def test_an_empty_file_and_one_of_no_entries_are_read_and_have_none(tmp_path: Path) -> None:
    for content in (b"", b"\n", b"[]"):
        path = tmp_path / "records.json"
        path.write_bytes(content)
        assert look_through(path, path, "alpaca") == (0, [])


def test_a_parquet_file_of_other_columns_is_rejected_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), path)
    read, broken = look_through(path, path, "alpaca")
    assert (read, len(broken)) == (2, 2)


def test_ids_that_cannot_be_looked_up(tmp_path: Path) -> None:
    """COCO's two lists are joined by ids; one that is a list itself belongs to no picture."""
    path, images = tmp_path / "captions.json", tmp_path / "images"
    images.mkdir()
    (images / "1.jpg").write_bytes(picture(1))
    pictures = [{"id": [1], "file_name": "0.jpg"}, {"id": 1, "file_name": "1.jpg"}]
    captions = [{"id": 1, "image_id": 1, "caption": "A."}, {"id": 2, "image_id": {"a": 1}, "caption": "B."}]
    path.write_text(json.dumps({"images": pictures, "annotations": captions}))
    read, broken = look_through(path, images, "coco_captions")
    assert (read, [one.position for one in broken]) == (2, [1])
