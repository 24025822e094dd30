import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parrot.data.sources import json_buffer
from parrot.data.sources.json_items import Unreadable, read_items
from parrot.errors import ParrotError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
LISTS = st.lists(VALUES, max_size=6)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json") / "items.json"


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@given(items=LISTS, ascii_only=st.booleans(), indent=st.sampled_from([None, 0, 2]))
@settings(max_examples=60, deadline=None)
def test_a_list_reads_as_json_loads_does(
    file: Path, chunk: int, items: list[Any], ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(items, ensure_ascii=ascii_only, indent=indent)
    file.write_bytes(text.encode("utf-8", "surrogatepass") if ascii_only else text.encode("utf-8", "replace"))
    expected = json.loads(file.read_text(encoding="utf-8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_buffer, "CHUNK", chunk)
        assert list(read_items(file)) == expected


@given(items=st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=6))
@settings(max_examples=40, deadline=None)
def test_json_lines(file: Path, items: list[Any]) -> None:
    file.write_text("\n\n".join(map(json.dumps, items)) + "\n", encoding="utf-8")
    assert list(read_items(file)) == items


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ('{"a" 2}', "broken JSON: line 2, column 6: Expecting ':' delimiter"),
        ('{"a": 2', "broken JSON: line 3, column 1: Expecting ',' delimiter"),
        ('{"a": "not closed', "broken JSON: line 2, column 18: Invalid control character at"),
        ('{"a": tru}', "broken JSON: line 2, column 7: Expecting value"),
        (
            '{"a": ' + "9" * 5000 + "}",
            "broken JSON: line 2, column 1: the entry that begins here holds a",
        ),
        ('{"a": ' + "[" * 100_000, "broken JSON: line 2, column 1: the entry that begins here is nested"),
    ],
)
def test_a_broken_line_takes_no_other_with_it(
    file: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, broken: str, problem: str
) -> None:
    monkeypatch.setattr(json_buffer, "CHUNK", chunk)
    file.write_text(f'{{"a": 1}}\n{broken}\n{{"a": 3}}\n{{"a": 4', encoding="utf-8")
    first, second, third, last = read_items(file)
    assert (first, third) == ({"a": 1}, {"a": 3})
    assert isinstance(second, Unreadable)
    assert second.reason.startswith(problem)
    assert last.reason.startswith("broken JSON: line 4, column 8")


@given(items=st.lists(VALUES, min_size=1, max_size=4), data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_cut_list_is_an_error(file: Path, items: list[Any], data: st.DataObject) -> None:
    text = json.dumps(items)
    file.write_text(text[: data.draw(st.integers(1, len(text) - 1))], encoding="utf-8")
    with pytest.raises(ParrotError, match=r"items.json: line 1, column \d+: broken JSON"):
        list(read_items(file))


@pytest.mark.parametrize("chunk", [3, 1 << 20])
@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('[\n {"a": 1},\n {"a": tru}\n]', 3, 8),
        ('[\n {"a": 1}\n {"a": 2}\n]', 3, 2),
        ('[\n {"a": 1},\n]', 3, 1),
        ("[1, 2] 3", 1, 8),
        ('[{"a": "not closed}]', 1, 8),
        ('1\n{"a" 2}\n3', 2, 6),
    ],
)
def test_errors_name_line_and_column(
    file: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, text: str, line: int, column: int
) -> None:
    monkeypatch.setattr(json_buffer, "CHUNK", chunk)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ParrotError, match=f"line {line}, column {column}: broken JSON"):
        list(read_items(file))


def test_an_error_in_the_middle_does_not_read_the_rest(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_buffer, "CHUNK", 100)
    monkeypatch.setattr(json_buffer, "MAX_ENTRY", 1000)
    file.write_text('["' + "x" * 5000 + '"]', encoding="utf-8")
    with pytest.raises(ParrotError, match="an entry of more than"):
        list(read_items(file))


def test_byte_order_mark_and_encoding(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf [1]")
    assert list(read_items(file)) == [1]
    file.write_bytes('["é"]'.encode("latin-1"))
    with pytest.raises(ParrotError, match="not UTF-8"):
        list(read_items(file))


@pytest.mark.parametrize(
    ("content", "place", "problem"),
    [
        (b'[1,\n {"id": ' + b"9" * 5000 + b"}]", "line 2, column 2", "a number of more than 4300 digits"),
        (b'1\n {"id": -' + b"9" * 5000 + b"}\n2", "line 2, column 2", "more than 4300 digits"),
        (b"[1,\n" + b"[" * 100_000 + b"]" * 100_000 + b"]", "line 2, column 1", "nested too deeply"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n1", "line 1, column 1", "nested too deeply"),
        (b'[{"a": "x"},\n {"b": "\xff"}]', "line 2, column 9", "not UTF-8 (invalid start byte)"),
        (b'[{"a": "\xc3', "line 1, column 9", "not UTF-8 (unexpected end of data)"),
        (b'\xef\xbb\xbf[{"a": "\xff', "line 1, column 9", "not UTF-8 (invalid start byte)"),
        ('[{"a": 1}]'.encode("utf-16"), "line 1, column 1", "not UTF-8 (invalid start byte)"),
        (b"[\n" + '"é",\n'.encode() * 300_000 + b'"\xe9"]', "line 300002, column 2", "not UTF-8"),
        (b"[1]\0", "line 1, column 4", "text after the list"),
    ],
    ids=["digits", "digits in lines", "brackets", "brackets in lines", "byte", "cut", "mark", "UTF-16", "far",
         "NUL"],
)  # fmt: skip
def test_what_cannot_be_held_is_named_with_its_place(
    file: Path, content: bytes, place: str, problem: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(ParrotError, match=r"items\.json: ") as error:
        list(read_items(file))
    assert place in str(error.value)
    assert problem in str(error.value)


@pytest.mark.parametrize("space", [" ", "\n", " \t\r\n"])
@pytest.mark.parametrize(("before", "after"), [("", "[1, 2]"), ("[1,", "2]"), ("[1, 2", "]"), ("[1, 2]", "")])
def test_much_space_takes_little_time(file: Path, space: str, before: str, after: str) -> None:
    file.write_text(before + space * (20_000_000 // len(space)) + after, encoding="utf-8", newline="")
    begun = time.process_time()
    assert list(read_items(file)) == [1, 2]
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("lines", [False, True])
def test_mutated_files_are_read_or_refused(file: Path, lines: bool) -> None:
    items = [{"id": f"é{number}", "image": "1.jpg", "n": number * 1e5} for number in range(20)]
    text = "\n".join(map(json.dumps, items)) if lines else json.dumps(items, ensure_ascii=False, indent=1)
    content = text.encode()
    draw = random.Random(7)
    for _ in range(300):
        place, length = draw.randrange(len(content)), draw.choice([0, 1, 5])
        change = draw.choice(
            [b"", draw.randbytes(4), b"[" * 3000, b"9" * 6000, b"\\ud83d", b"\0", b"NaN", b" " * 999]
        )
        file.write_bytes(content[:place] + change + content[place + length :])
        try:
            list(read_items(file))
        except ParrotError as error:
            assert "items.json: line " in str(error)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match="cannot be read as a file"):
        list(read_items(tmp_path))
    with pytest.raises(ParrotError, match=r"nowhere.json: not found; `parrot data`"):
        list(read_items(tmp_path / "nowhere.json"))
