"""Keys that came before are known, wherever they are kept meanwhile."""

import random

import pytest

from parrot.data import seen
from parrot.data.digests import digest
from parrot.data.seen import FirstSeen


@pytest.mark.parametrize("bits", [1 << 27, 64], ids=["a filter with room", "a full filter"])
def test_the_first_value_of_a_key_is_remembered(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    monkeypatch.setattr(seen, "_RECENT", 50)
    monkeypatch.setattr(seen, "_FILTER_BITS", bits)
    draw, first, expected = random.Random(1), FirstSeen(), dict[bytes, str]()
    for number in range(5000):
        key, value = digest(b"%d" % draw.randrange(3000)), draw.choice(("", "a", "b"))
        assert first.earlier(key, value) == expected.get(key), number
        expected.setdefault(key, value)
        assert len(first._recent) < 50  # the others are in the file


def test_a_new_key_is_not_looked_for_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "_RECENT", 50)
    first = FirstSeen()
    asked: list[str] = []
    first._database.set_trace_callback(asked.append)
    for number in range(1000):
        assert first.earlier(digest(b"%d" % number)) is None
    assert not [query for query in asked if query.startswith("SELECT")]
