"""How long the samples of a training are, which come together, and what of their batches is padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parrot.config import Training
from parrot.data.shards import RecordDataset
from parrot.training.sampler import LengthGroupedSampler

SPREAD = 1.0
"""Of made-up samples the standard deviation of the logarithm of their text: questions beside long stories."""
MADE_UP = 20_000


@dataclass(frozen=True)
class SampleLengths:
    """Of each sample of a mixture, or of one that is made up."""

    by: Sequence[int]
    """By which batches of similar length are made: bytes of text."""
    positions: NDArray[np.int_]
    """In the model, images included."""
    known_from: str
    """Follows what was counted of them, in words."""

    @property
    def mean(self) -> int:
        """Positions of a sample."""
        return round(float(self.positions.mean()))

    def batches(self, training: Training, seed: int = 1) -> NDArray[np.int_]:
        """The samples of each batch of a rank [batches, batch_size], of one epoch."""
        grouped = not training.packing
        sampler = LengthGroupedSampler(self.by, training.samples_a_step, seed, grouped=grouped)
        order = np.fromiter(sampler, dtype=np.int_)
        full = len(order) // training.batch_size
        # Fewer samples than a batch has come together all the same.
        return order[: full * training.batch_size].reshape(full, -1) if full else order[None]

    def padding(self, training: Training) -> float:
        """Which share of the positions that are computed is padding."""
        if training.packing:
            return 0.0
        taken = self.positions[self.batches(training)]
        return 1 - float(taken.sum() / (taken.max(axis=1).sum() * taken.shape[1]))

    def heaviest(self, training: Training, seed: int = 1) -> NDArray[np.int_]:
        """The samples of the batch that takes most memory: packed, the one with most positions; padded, its
        longest sample as often as a batch has samples."""
        if not training.packing:
            return np.repeat(self.positions.argmax(), training.batch_size)
        batches = self.batches(training, seed)
        found: NDArray[np.int_] = batches[self.positions[batches].sum(axis=1).argmax()]
        return found


def of_mixture(dataset: RecordDataset, folder: Path) -> SampleLengths:
    return SampleLengths(dataset.lengths, np.asarray(dataset.positions), f"counted in {folder}")


def made_up(text: int, image: int, longest: int) -> SampleLengths:
    """Samples with `text` positions on average, log-normal, and an image each; none longer than `longest`."""
    draw = np.random.default_rng(0)
    words = draw.lognormal(sigma=SPREAD, size=MADE_UP)
    words = np.maximum(1, np.round(words * text / words.mean())).astype(int)
    positions = np.minimum(words + image, longest)
    by: list[Any] = words.tolist()
    return SampleLengths(by, positions, f"with made-up texts of {text} positions on average")
