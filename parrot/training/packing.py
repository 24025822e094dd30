"""The samples of a batch one behind the other in a single row, so that no position is padding.

A sample is never cut. Where the position ids begin anew, a sample does: attention, the experts' guidance and
cross-attention to images keep to it, so that loss and gradients are those of the samples alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from parrot.model.chat_text import IGNORE_INDEX

ATTENTION = "sdpa_of_samples"
_LENGTHS = WeakTensorKeyDictionary()
"""Position ids -> lengths of their samples, where nobody tells them: read from the device once a step."""


def pack(batch: dict[str, Tensor]) -> dict[str, Any]:
    """The same samples in one row.

    Args:
        batch: `input_ids`, `attention_mask`, `labels` [samples, T], padded on the right, and `pixel_values`
            [N, …], in the order of the samples.

    Returns:
        `input_ids`, `labels`, `position_ids` [1, positions of all samples], `pixel_values`, and the
        `sample_lengths` as numbers, for attention; no mask.
    """
    real = batch["attention_mask"].bool()
    labels = batch["labels"].clone()
    labels[:, 0] = IGNORE_INDEX  # a sample's first token has nothing before it that could predict it
    return {
        "input_ids": batch["input_ids"][real][None],
        "labels": labels[real][None],
        "position_ids": (real.cumsum(dim=1) - 1)[real][None],
        "pixel_values": batch["pixel_values"],
        "sample_lengths": real.sum(dim=1).tolist(),
    }


@contextmanager
def samples_apart(language_model: Any) -> Iterator[None]:
    """Meanwhile each sample of a packed row attends to itself alone, and nothing is computed between samples.

    The model is only given packed rows, and single questions to answer. Without this its mask keeps samples
    apart as well, in time and memory that grow with the square of the row.
    """
    before = language_model.config._attn_implementation
    if before == "sdpa":
        language_model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        language_model.set_attn_implementation(before)


def _attention_of_samples(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    position_ids: Tensor,
    sample_lengths: list[int] | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sample [1, positions, heads, head size]; as `sdpa_attention_forward`."""
    if query.shape[2] < key.shape[2]:  # a next token is generated: it attends to all that came before
        attended, _ = sdpa_attention_forward(module, query, key, value, None, is_causal=False, **kwargs)
        return attended, None
    lengths = sample_lengths or _sample_lengths(position_ids)
    results = []
    for of_sample in zip(*(torch.split(given, lengths, dim=2) for given in (query, key, value)), strict=True):
        mask = _window(of_sample[0], sliding_window)
        results.append(sdpa_attention_forward(module, *of_sample, mask, is_causal=mask is None, **kwargs)[0])
    return torch.cat(results, dim=1), None


def _window(query: Tensor, size: int | None) -> Tensor | None:
    """What a sample [1, heads, length, head size] that is longer than a sliding window may attend to."""
    length = query.shape[2]
    if size is None or length <= size:
        return None
    place = torch.arange(length, device=query.device)
    distance = place[:, None] - place
    return ((distance >= 0) & (distance < size))[None, None]


def _sample_lengths(position_ids: Tensor) -> list[int]:
    lengths: list[int] | None = _LENGTHS.get(position_ids)  # type: ignore[no-untyped-call]
    if lengths is None:
        if len(position_ids) > 1:
            raise ValueError(f"one packed row is expected, not a batch of {len(position_ids)} rows")
        begins = [*(position_ids[0] == 0).nonzero()[:, 0].tolist(), position_ids.shape[1]]
        lengths = _LENGTHS[position_ids] = [after - begin for begin, after in pairwise(begins)]
    return lengths


AttentionInterface.register(ATTENTION, _attention_of_samples)
