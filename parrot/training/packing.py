"""Samples one behind the other in the rows of a batch, so that hardly a position is padding.

A sample is never cut. Where the position ids begin anew, a sample does: attention, the experts' guidance and
cross-attention to images keep to it, so that loss and gradients are those of the samples alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from parrot.model.chat_text import IGNORE_INDEX


def pack(batch: dict[str, Tensor], images: Sequence[int]) -> dict[str, Tensor]:
    """The same samples in fewer rows, each as long as the longest sample at most.

    Args:
        batch: `input_ids`, `attention_mask`, `labels` [samples, T], padded on the right, and `pixel_values`
            [N, …], in the order of the samples.
        images: how many of the N each sample has.

    Returns:
        `input_ids`, `labels`, `position_ids` [rows, T] and `pixel_values` in their order; no mask. What is
        left of a row counts as a sample of its own, without labels.
    """
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    rows = arrange(lengths)
    shape = (len(rows), max(lengths))
    input_ids = batch["input_ids"].new_zeros(shape)
    labels = batch["labels"].new_full(shape, IGNORE_INDEX)
    position_ids = torch.zeros_like(input_ids)
    for row, samples in enumerate(rows):
        begin = 0
        for sample in samples:
            end = begin + lengths[sample]
            input_ids[row, begin:end] = batch["input_ids"][sample, : lengths[sample]]
            # A sample's first token has nothing before it that could predict it.
            labels[row, begin + 1 : end] = batch["labels"][sample, 1 : lengths[sample]]
            position_ids[row, begin:end] = torch.arange(lengths[sample])
            begin = end
        position_ids[row, begin:] = torch.arange(shape[1] - begin)
    pictures = torch.split(batch["pixel_values"], list(images))
    return {
        "input_ids": input_ids,
        "labels": labels,
        "position_ids": position_ids,
        "pixel_values": torch.cat([pictures[sample] for samples in rows for sample in samples]),
    }


def arrange(lengths: Sequence[int]) -> list[list[int]]:
    """Rows of samples, none longer than the longest sample: first fit, the longest first."""
    rows: list[list[int]] = []
    free: list[int] = []
    for sample in sorted(range(len(lengths)), key=lambda sample: -lengths[sample]):
        row = next((row for row, left in enumerate(free) if left >= lengths[sample]), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(max(lengths))
        rows[row].append(sample)
        free[row] -= lengths[sample]
    return rows
