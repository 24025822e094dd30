"""In which order samples are drawn."""

import torch

from parrot.training.sampler import LengthGroupedSampler


def test_sampler_depends_on_seed_and_epoch_only() -> None:
    sampler = LengthGroupedSampler(list(range(100)), 8, seed=1)
    first = list(sampler)
    torch.rand(10)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert sorted(sampler) == list(range(100))


def test_sampler_groups_similar_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 1000, (4000,), generator=generator).tolist()
    order = list(LengthGroupedSampler(lengths, 8, seed=1))
    spans = [
        max(lengths[i] for i in batch) - min(lengths[i] for i in batch)
        for batch in (order[start : start + 8] for start in range(0, len(order), 8))
    ]
    assert sorted(spans)[len(spans) // 2] < 60


def test_samples_that_are_packed_come_in_no_order_of_length() -> None:
    lengths = list(range(800))
    order = list(LengthGroupedSampler(lengths, 8, seed=1, grouped=False))
    assert sorted(order) == lengths
    first, last = (sum(order[place::8]) / 100 for place in (0, 7))  # as many ranks would get them
    assert abs(first - last) < 100
