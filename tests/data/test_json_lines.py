"""JSON lines are cut, parsed elsewhere and taken by columns: the same records as one by one, and rejects."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from mutations import mutations
from read_source import LIMITS

from parrot.config import Source
from parrot.data.parts import MENDED, RECORDS, gather, make_part
from parrot.data.records import LOST, Record, to_table
from parrot.data.reject_tables import REJECTS, read_rejects
from parrot.data.rejects import Reject, kind
from parrot.data.shards import open_shard
from parrot.data.sources import json_lines
from parrot.data.sources.json_lines import Lines, Rest, cut
from parrot.data.sources.reading import SourceReader
from parrot.errors import ParrotError

TEXTS = ("What is it?", "是什么？\nIn 8 words.", "🙂 it's $\\frac{1}{2}$", " two  spaces ", "\u200fعربي")

Found = tuple[list[dict[str, Any]], list[tuple[Any, ...]]]
"""Rows of records, and what was rejected or mended."""


def talk(number: int, *texts: str, **more: Any) -> dict[str, Any]:
    said = texts or (TEXTS[number % len(TEXTS)], TEXTS[(number + 1) % len(TEXTS)])
    turns = [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(said)]
    return {"id": f"c{number}", "conversations": turns} | more


def lines(*entries: Any) -> bytes:
    return b"".join(json.dumps(entry, ensure_ascii=False).encode() + b"\n" for entry in entries)


def spoken(*turns: tuple[str, Any]) -> bytes:
    return lines({"id": "a", "conversations": [{"from": who, "value": said} for who, said in turns]})


def reader_of(path: Path, content: bytes, **source: Any) -> SourceReader:
    path.write_bytes(content)
    fields = {"split": "sft", "language": "en", "format": "llava", "path": str(path), "images": str(path)}
    return SourceReader("it", Source.model_validate(fields | source), LIMITS)


def one_by_one(reader: SourceReader) -> Found:
    made = [reader.record(*entry) for entry in reader.entries(["en"])]
    records = [one for one in made if isinstance(one, Record)]
    said = [
        (one.record, one.field, kind(one.reason), one.position) for one in made if isinstance(one, Reject)
    ]
    positions = [position for _, position, _ in reader.entries(["en"])]
    mended = [
        (one.id, "", "; ".join(one.mended), position)
        for position, one in zip(positions, made, strict=True)
        if isinstance(one, Record) and one.mended
    ]
    return to_table(records).to_pylist(), said + mended


def in_parts(reader: SourceReader, folder: Path, size: int = 8) -> Found:
    rows: list[dict[str, Any]] = []
    rejected: list[Reject] = []
    mended: list[Reject] = []
    for part in gather(reader, ["en"], size):
        made = folder / str(part.number)
        make_part(made, reader, part)
        rows += open_shard(made / RECORDS).read().to_pylist()
        rejected += read_rejects(made / REJECTS)
        mended += read_rejects(made / MENDED)
        assert part.entries <= size
    return rows, [(one.record, one.field, kind(one.reason), one.position) for one in rejected + mended]


def outcome(find: Callable[[], Found]) -> Found | str:
    try:
        return find()
    except ParrotError as error:
        return str(error)


ODD: dict[str, bytes] = {
    "placeholder": lines(talk(1, "<image>\nWhat?", "It.")),
    "empty answer": lines(talk(1, "What?", "")),
    "spaces": lines(talk(1, "What?", " \u3000\n")),
    "lost": lines(talk(1, f"Wh{LOST}t?", "It.")),
    "control": lines(talk(1, "What?", "It\0")),
    "order of display": lines(talk(1, "What\u202e?", "It.")),
    "surrogate": rb'{"id": "a", "conversations": [{"from": "human", "value": "\ud800"}]}' + b"\n",
    "pair": rb'{"id": "a", "conversations": [{"from": "human", "value": "\ud83d\ude00"},'
    rb' {"from": "gpt", "value": "\u0041"}]}' + b"\n",
    "no answer": lines(talk(1, "What?", "It.", "And?")),
    "answer first": spoken(("gpt", "Hi."), ("human", "A?"), ("gpt", "B.")),
    "joined": spoken(("human", "A?"), ("gpt", "B."), ("gpt", "C.")),
    "nobody": spoken(("cat", "Miau."), ("gpt", "Hi.")),
    "system": spoken(("system", "Be kind."), ("human", "A?"), ("gpt", "B.")),
    "no turns": lines({"id": "a", "conversations": []}),
    "no list": lines({"id": "a", "conversations": None}),
    "no turn": lines({"id": "a", "conversations": [None, {"from": "gpt", "value": "Hi."}]}),
    "no text": spoken(("human", None), ("gpt", "Hi.")),
    "unknown field": lines(talk(1, video="a.mp4")),
    "about it": lines(talk(1, source="web")),
    "blank field": lines(talk(1, image=None)),
    "missing image": lines(talk(1, image="7.jpg")),
    "number as id": lines(talk(1) | {"id": 7}),
    "true as id": lines(talk(1) | {"id": True}),
    "no id": lines({"conversations": talk(1)["conversations"]}),
    "id null": lines(talk(1) | {"id": None}),
    "id empty": lines(talk(1) | {"id": ""}),
    "id with a newline": lines(talk(1) | {"id": "a\nb"}),
    "id in Chinese": lines(talk(1) | {"id": "一"}),
    "other name of turns": lines({"id": "a", "messages": talk(1)["conversations"]}),
    "both names of turns": lines(talk(1) | {"messages": []}),
    "list as content": spoken(("human", [{"type": "text", "text": "A?"}]), ("gpt", "B.")),
    "more in a turn": lines({"id": "a", "conversations": [{"from": "human", "value": "A?", "loss": 1},
                                                           {"from": "gpt", "value": "B."}]}),
    "doubled key": b'{"id": "a", "id": "b", "conversations": []}\n',
    "broken": b'{"id": "a", }\n',
    "not closed": b'{"id": "a", "conversations": {}\n',
    "a word": b'{"id": "a", "score": NaN, "conversations": []}\n',
    "long number as id": b'{"id": 123456789012345678901234567890, "conversations": []}\n',
    "list": b"[1]\n",
    "text": b'"a"\n',
    "blank line": b"\n",
    "carriage return": lines(talk(1))[:-1] + b"\r\n",
    "two on a line": lines(talk(1))[:-1] + lines(talk(2)),
    "two, spaces between": lines(talk(1))[:-1] + b" \t" + lines(talk(2)),
    "space in front": b" " + lines(talk(1)),
    "over lines": json.dumps(talk(1), indent=1).encode() + b"\n",
    "a brace too many": spoken(("human", "A?"), ("gpt", "B."))[:-1] + b"}\n",
    "a comma in front": b'{"id": "a", "conversations": [{"from": "human", "value": "A?"}\n'
    b', {"from": "gpt", "value": "B."}]}\n',
    "a comma in front, behind a blank line": b'{"id": "a", "meta": {}\n\n, "conversations": []}\n',
    "broken, then a list": b'{"id": }\n[1]\n',
    "null between": lines(talk(1))[:-1] + b" null " + lines(talk(2)),
    "list between": lines(talk(1))[:-1] + b"[1]" + lines(talk(2)),
    "comma between": lines(talk(1))[:-1] + b"," + lines(talk(2)),
    "space behind": lines(talk(1))[:-1] + b" \n",
    "surrogate in a key": rb'{"id": "a", "\ud800_id": "x", "conversations": []}' + b"\n",
    "long number": lines(talk(1))[:-2] + b', "score": ' + b"1" * 5000 + b"}\n",
    "whole number": lines(talk(1, score=1)),
    "deep": b'{"id": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "deep, not closed": b'{"id": "a", "x": ' + b'{"a":' * 100_000 + b"}\n",
}  # fmt: skip


@pytest.mark.parametrize("place", [0, 3, 11])
@pytest.mark.parametrize("odd", ODD)
def test_an_odd_line_is_what_it_would_be_alone(tmp_path: Path, odd: str, place: int) -> None:
    good = [lines(talk(number, score=number / 2)) for number in range(2, 13)]
    reader = reader_of(tmp_path / "a.jsonl", b"".join([*good[:place], ODD[odd], *good[place:]]))
    expected = outcome(lambda: one_by_one(reader))
    assert outcome(lambda: in_parts(reader, tmp_path / "parts")) == expected


def test_good_lines_are_taken_by_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("one was looked at alone")

    monkeypatch.setattr(SourceReader, "record", never)
    entries = [talk(number, source="web", score=number) for number in range(20)]
    rows, listed = in_parts(reader_of(tmp_path / "a.jsonl", lines(*entries)), tmp_path / "parts")
    assert [row["id"] for row in rows] == [entry["id"] for entry in entries]
    assert listed == []
    named = [{"role": "user", "content": TEXTS[4]}, {"role": "assistant", "content": TEXTS[0]}]
    assert rows[4]["messages"] == named
    chats = [{"messages": named} for _ in range(3)]
    rows, _ = in_parts(reader_of(tmp_path / "b.jsonl", lines(*chats)), tmp_path / "others")
    assert [row["id"] for row in rows] == ["0", "1", "2"]


def test_changed_bytes_are_read_as_one_by_one(tmp_path: Path) -> None:
    content = lines(*(talk(number) for number in range(12)))
    seen = set()
    for number, mutated in enumerate(mutations(content, 400)):
        reader = reader_of(tmp_path / f"{number}.jsonl", mutated)
        expected = outcome(lambda reader=reader: one_by_one(reader))
        found = outcome(lambda reader=reader, number=number: in_parts(reader, tmp_path / str(number)))
        assert found == expected, mutated
        seen.add(type(found))
    assert seen == {str, tuple}


def pieces(path: Path, content: bytes, most: int = 100) -> list[int | str]:
    """how many lines are together, and the bytes from which on a file is not cut."""
    path.write_bytes(content)
    found = list(cut(path, 0, most))
    assert (
        b"".join(one.read() for one in found if isinstance(one, Lines))
        == content[: next((one.start for one in found if isinstance(one, Rest)), None)]
    )
    return [one.number if isinstance(one, Lines) else content[one.start :][:9].decode() for one in found]


def test_a_file_is_cut_where_lines_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "_LINES", 4)
    path, whole = tmp_path / "a.jsonl", lines(*(talk(number) for number in range(10)))
    assert pieces(path, whole) == pieces(path, whole[:-1]) == [4, 4, 2]
    assert pieces(path, whole, most=3) == [3, 3, 3, 1]
    assert pieces(path, whole.replace(b"\n", b"\r\n")) == [4, 4, 2]
    assert pieces(path, whole + b"\n") == [4, 4, 2, "\n"]
    assert pieces(path, b"\xef\xbb\xbf" + whole)[0] == '\ufeff{"id":'
    assert pieces(path, whole + b"[1]\n" + whole)[2:] == [1, '{"id": "c']  # might go on
    monkeypatch.setattr(json_lines, "_BYTES", 1)
    assert pieces(path, whole) == [1] * 10


def test_a_partition_may_be_of_several_files_and_ends_where_much_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jsonl").write_bytes(lines(*(talk(6 * number + n) for n in range(6))))
    source = {
        "split": "sft",
        "language": "en",
        "format": "llava",
        "images": str(tmp_path),
        "path": str(tmp_path),
    }
    reader = SourceReader("it", Source.model_validate(source | {"files": "*.jsonl"}), LIMITS)
    rows, _ = in_parts(reader, tmp_path / "parts")
    assert [row["id"] for row in rows] == [f"c{number}" for number in range(18)]
    assert [part.entries for part in gather(reader, ["en"], 8)] == [8, 8, 2]
    monkeypatch.setattr("parrot.data.parts._HELD", 1)
    assert [part.entries for part in gather(reader, ["en"], 8)] == [6, 2, 4, 4, 2]


def test_what_is_no_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    reader = reader_of(
        tmp_path / "a.jsonl",
        lines(talk(1), talk(2)) + lines(talk(3, "Caf\u00e9?", "It.")).replace(b"\xc3", b""),
    )
    with pytest.raises(ParrotError, match=r"a\.jsonl: line 3, column \d+: not UTF-8"):
        in_parts(reader, tmp_path / "parts")


def test_what_is_wrong_with_a_file_comes_from_other_processes_too(tmp_path: Path) -> None:
    reader = reader_of(tmp_path / "a.jsonl", lines(talk(1)) + ODD["a brace too many"])
    with pytest.raises(ParrotError, match=r"line 2, column .*: broken JSON") as caught:
        in_parts(reader, tmp_path / "parts")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    [part] = gather(reader, ["en"], 8)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(ParrotError, match=r"a\.jsonl: not found"):
        make_part(tmp_path / "part", reader, part)


def test_a_file_that_changes_meanwhile_is_a_sentence(tmp_path: Path) -> None:
    reader = reader_of(tmp_path / "a.jsonl", lines(talk(1), talk(2)))
    [part] = gather(reader, ["en"], 8)
    (tmp_path / "a.jsonl").write_bytes(lines(talk(1)))
    with pytest.raises(ParrotError, match="changed while it was read"):
        make_part(tmp_path / "part", reader, part)


def test_arrow_takes_for_a_space_what_python_does() -> None:
    letters = [chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000]
    assert pc.utf8_is_space(pa.array(letters)).to_pylist() == [letter.isspace() for letter in letters]
