"""The ledger: nothing lost, nothing doubled, whoever is killed and however many write."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parrot.errors import ParrotError
from parrot.publishing.ledger import append, held_back, published_before, read_ledger, shown

OLD, NEW = (
    {"version": "1", "weights": "w1", "commit": "c1"},
    {"version": "2", "weights": "w2", "commit": "c2"},
)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "published" / "ledger.jsonl"


def publish(ledger: Path, version: dict[str, str], replaced: dict[str, str] | None) -> bool:
    return append(ledger, "publication", "parrot", {**version, "replaced": replaced})


def go_back(ledger: Path, version: dict[str, str], replaced: dict[str, str], hold: bool = True) -> bool:
    return append(ledger, "rollback", "parrot", {**version, "replaced": replaced, "hold": hold})


def test_without_a_file_nothing_has_happened_and_none_is_made(ledger: Path) -> None:
    assert read_ledger(ledger) == []
    assert not ledger.exists()


def test_lines_are_kept_in_their_order_with_time_and_facts(ledger: Path) -> None:
    append(ledger, "verdict", "parrot", {**NEW, "decision": "HOLD"}, {"words": "Ñandú"})
    publish(ledger, NEW, OLD)
    first, second = read_ledger(ledger)
    assert (first["event"], first["decision"], first["words"]) == ("verdict", "HOLD", "Ñandú")
    assert second["replaced"] == OLD
    assert first["time"].endswith("+00:00")
    assert [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()] == [first, second]


def test_a_step_done_again_writes_no_second_line(ledger: Path) -> None:
    facts = {**NEW, "decision": "PROMOTE", "numbers": {"overall": 0.1 + 0.2}}
    assert append(ledger, "verdict", "parrot", facts)
    assert publish(ledger, NEW, OLD)
    assert not append(ledger, "verdict", "parrot", facts, {"revision": "another"})
    assert not publish(ledger, NEW, OLD)
    assert append(ledger, "verdict", "other model", facts)
    assert append(ledger, "verdict", "parrot", {**facts, "decision": "HOLD"})


def test_what_happens_again_after_a_way_back_is_news(ledger: Path) -> None:
    publish(ledger, OLD, None)
    publish(ledger, NEW, OLD)
    assert go_back(ledger, OLD, NEW)
    assert not go_back(ledger, OLD, NEW)
    assert publish(ledger, NEW, OLD)
    assert go_back(ledger, OLD, NEW)
    assert [entry["event"] for entry in read_ledger(ledger)] == [
        "publication", "publication", "rollback", "publication", "rollback",
    ]  # fmt: skip


def test_a_person_holds_a_version_back_until_a_person_returns_to_it(ledger: Path) -> None:
    publish(ledger, OLD, None)
    publish(ledger, NEW, OLD)
    assert held_back(read_ledger(ledger), "parrot") == {}
    go_back(ledger, OLD, NEW)
    assert held_back(read_ledger(ledger), "parrot") == {"w2": "2"}
    assert held_back(read_ledger(ledger), "other model") == {}
    go_back(ledger, NEW, OLD, hold=False)
    assert held_back(read_ledger(ledger), "parrot") == {}


def test_the_version_before_is_the_one_that_was_replaced(ledger: Path) -> None:
    third = {"version": "7", "weights": "w7", "commit": "c7"}
    publish(ledger, OLD, None)
    publish(ledger, NEW, OLD)
    publish(ledger, third, NEW)
    go_back(ledger, NEW, third)
    entries = read_ledger(ledger)
    assert shown(entries, "parrot") == entries[-1]
    assert published_before(entries, "parrot", "7") == "2"
    assert published_before(entries, "parrot", "2") == "1"  # and not 7, from which the last step came
    assert published_before(entries, "parrot", "1") is None
    assert published_before(entries, "other model", "2") is None


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_last_line_cut_anywhere_is_said_and_repaired(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ledger = tmp_path_factory.mktemp("cut") / "ledger.jsonl"
    publish(ledger, OLD, None)
    whole = ledger.read_bytes()
    publish(ledger, NEW, OLD)
    length = len(ledger.read_bytes())
    at = data.draw(st.integers(len(whole), length - 1))
    os.truncate(ledger, at)
    assert len(read_ledger(ledger)) == 1
    assert publish(ledger, NEW, OLD)
    events = [entry["event"] for entry in read_ledger(ledger)]
    assert events == ["publication", *(["repair"] if at > len(whole) else []), "publication"]
    assert ledger.read_bytes().startswith(whole)


def test_a_cut_line_is_shown(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(ledger, OLD, None)
    with ledger.open("ab") as file:
        file.write('{"time": "2026, "event": "verdict ä'.encode()[:-1])
    read_ledger(ledger)
    assert (
        'the last line is cut off and does not count: {"time": "2026, "event": "v' in capsys.readouterr().err
    )
    publish(ledger, NEW, OLD)
    assert "is repaired" in capsys.readouterr().err
    assert read_ledger(ledger)[1]["cut"].startswith('{"time": "2026')


@pytest.mark.parametrize("line", ["{", "[]", '"text"', "{}", '{"event": "verdict"}', "\xff"])
def test_another_broken_line_is_an_error_and_nothing_is_written(ledger: Path, line: str) -> None:
    publish(ledger, OLD, None)
    ledger.write_bytes(ledger.read_bytes() + line.encode("latin-1") + b"\n")
    publish_again = ledger.read_bytes()
    for use in (lambda: read_ledger(ledger), lambda: publish(ledger, NEW, OLD)):
        with pytest.raises(ParrotError, match=r"ledger\.jsonl: line 2: no line of a ledger"):
            use()
    assert ledger.read_bytes() == publish_again


def test_a_full_disk_leaves_the_ledger_as_it_was(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(ledger, OLD, None)
    before = ledger.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ParrotError, match="no space left while writing"):
            publish(ledger, NEW, OLD)
    assert ledger.read_bytes() == before
    assert publish(ledger, NEW, OLD)


WRITER = """
import sys
from pathlib import Path
from parrot.publishing.ledger import append
for number in range(40):
    append(Path(sys.argv[1]), "verdict", sys.argv[2], {"version": str(number), "padding": "x" * 5000})
"""


def test_several_writers_lose_and_double_nothing(ledger: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, ledger, name]) for name in ("a", "b", "c", "a")
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    entries = read_ledger(ledger)
    for name in ("b", "c"):
        assert [one["version"] for one in entries if one["name"] == name] == [str(n) for n in range(40)]
    of_both = [int(one["version"]) for one in entries if one["name"] == "a"]
    assert sorted(set(of_both)) == list(range(40)) and len(of_both) <= 80


def test_writers_that_are_killed_leave_whole_lines_or_one_that_is_repaired(ledger: Path) -> None:
    publish(ledger, OLD, None)
    for _ in range(3):
        size = ledger.stat().st_size
        writer = subprocess.Popen([sys.executable, "-c", WRITER, ledger, "a"])
        while ledger.stat().st_size < size + 20_000:
            time.sleep(0.002)
        writer.kill()
        writer.wait()
        go_back(ledger, OLD, NEW)
        publish(ledger, NEW, OLD)
    events = [entry["event"] for entry in read_ledger(ledger)]
    assert [events.count(event) for event in ("publication", "rollback")] == [4, 3]
