"""Which keys came before is known, in whichever file they lie."""

import random

import numpy as np
import pyarrow as pa
import pytest

from parrot.data import repeats
from parrot.data.columns import keys_of
from parrot.data.digests import digest
from parrot.data.repeats import Repeats


@pytest.mark.parametrize("batch", [1, 7, 5000])
def test_every_later_one_is_named_with_the_first(batch: int) -> None:
    draw, first = random.Random(1), dict[bytes, int]()
    keys = [digest(b"%d" % draw.randrange(3000)) for _ in range(5000)]
    expected = {place: first.setdefault(key, place) for place, key in enumerate(keys)}
    with Repeats() as search:
        for begin in range(0, len(keys), batch):
            some = keys[begin : begin + batch]
            search.add(np.arange(begin, begin + len(some)), keys_of(pa.array(some, pa.binary())))
        found = {
            later: earlier
            for pair in search.pairs()
            for later, earlier in zip(*(numbers.tolist() for numbers in pair), strict=True)
        }
    assert found == {later: earlier for later, earlier in expected.items() if later != earlier}


def test_keys_that_begin_alike_are_told_apart() -> None:
    keys = [bytes(8) + digest(b"%d" % number)[:8] for number in range(50)]
    with Repeats() as search:
        search.add(np.arange(51), keys_of(pa.array([*keys, keys[7]], pa.binary())))
        pairs = [pair for pair in search.pairs() if len(pair[0])]
    assert [(later.tolist(), earlier.tolist()) for later, earlier in pairs] == [([50], [7])]


def test_a_share_of_the_keys_is_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    sort = np.lexsort
    monkeypatch.setattr(repeats.np, "lexsort", lambda keys: sizes.append(len(keys[0])) or sort(keys))
    with Repeats() as search:
        search.add(np.arange(6400), keys_of(pa.array([digest(b"%d" % n) for n in range(6400)], pa.binary())))
        assert sum(len(later) for later, _ in search.pairs()) == 0
    assert sum(sizes) == 6400
    assert max(sizes) < 300


def test_nothing_repeats_nothing() -> None:
    with Repeats() as search:
        search.add(np.arange(0), keys_of(pa.array([], pa.binary())))
        assert sum(len(later) for later, _ in search.pairs()) == 0
