"""Which samples come together, and what of their batches is padding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plan_cases import whole
from small_stages import picture
from written_mixtures import MixedRecord, write_mixture

from parrot.data.records import Image, Message
from parrot.data.shards import RecordDataset
from parrot.training.sample_lengths import SampleLengths, made_up, of_mixture
from parrot.training.sampler import LengthGroupedSampler

PACKED: dict[str, Any] = {"batch_size": 2, "packing": True}


def lengths(*positions: int) -> SampleLengths:
    return SampleLengths(positions, np.array(positions), "here")


def test_padding_is_what_a_batch_has_beside_its_samples() -> None:
    found = lengths(10, 30, 10, 30)
    assert found.padding(whole(batch_size=2).training) == 0.0  # of similar length
    assert found.padding(whole(batch_size=4).training) == pytest.approx(1 / 3)
    assert found.padding(whole(batch_size=4, packing=True).training) == 0.0
    assert found.padding(whole(batch_size=8).training) == pytest.approx(1 / 3)  # fewer than a batch has


def test_batches_are_those_of_the_training() -> None:
    found = lengths(*range(1, 41))
    training = whole(batch_size=2, gradient_accumulation_steps=2).training
    order = list(LengthGroupedSampler(found.by, 4, 3))
    assert found.batches(training, seed=3).flatten().tolist() == order
    packed = whole(**PACKED).training
    assert found.batches(packed, 3).flatten().tolist() == list(
        LengthGroupedSampler(found.by, 2, 3, grouped=False)
    )


def test_the_heaviest_batch_is_the_longest_sample_repeated_or_the_fullest_row() -> None:
    found = lengths(5, 9, 1, 1, 1, 1, 8, 2)
    assert found.heaviest(whole(batch_size=3).training).tolist() == [1, 1, 1]
    packed = whole(**PACKED).training
    rows = found.positions[found.batches(packed)].sum(axis=1)
    assert found.positions[found.heaviest(packed)].sum() == rows.max()


def test_made_up_samples_have_the_mean_that_is_asked_for_and_hold_their_picture() -> None:
    found = made_up(256, 577, 10**6)
    assert found.mean == pytest.approx(256 + 577, rel=0.01)
    assert found.positions.min() > 577
    assert made_up(256, 577, 1000).positions.max() == 1000
    assert 0 < found.padding(whole(batch_size=16).training) < 0.2


def test_a_mixture_is_counted_by_its_index(tmp_path: Path) -> None:
    asked, said = Message("user", "<image>\nWhat is it?"), Message("assistant", "red")
    records = [
        MixedRecord("a", "s", "en", (asked, said), (Image("a.png", picture(0)),), positions=40),
        MixedRecord("b", "s", "en", (said,), (), positions=10, copies=3),
    ]
    prepared, mixture = write_mixture(tmp_path, records)
    found = of_mixture(RecordDataset(prepared, mixture), mixture)
    assert found.positions.tolist() == [40, 10, 10, 10]
    assert found.mean == 18
    assert str(mixture) in found.known_from
