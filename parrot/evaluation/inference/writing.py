"""Greedy answers to prompts that come a batch at a time, written side by side.

Answers differ in length: most of a batch have ended when the longest has hardly begun. What is left of one
batch is therefore written on together with the next one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F
from transformers.cache_utils import DynamicLayer

from parrot.evaluation.inference.decoding import Prefix


@dataclass
class _Going:
    """Answers that are being written, N of them."""

    keys: list[Any]
    tokens: torch.Tensor
    """The last one of each [N], which the model has not read yet."""
    attention_mask: torch.Tensor
    """[N, T], with the last token."""
    position: torch.Tensor
    """Of the last token [N]."""
    past: Any

    def kept(self, places: list[int]) -> None:
        if len(places) < len(self.keys):
            rows = torch.tensor(places, device=self.tokens.device)
            self.past.batch_select_indices(rows)
            self.tokens, self.position = self.tokens[rows], self.position[rows]
            self.attention_mask = self.attention_mask[rows]
            self.keys = [self.keys[place] for place in places]


class Writer:
    """Writes answers, as token ids by key in `written`.

    Args:
        ends: tokens that end an answer and are not part of it.
        complete: whether the answer to a prompt [key] needs no more tokens than these.
        left_over: so many unfinished answers may wait for the next prompts.
    """

    def __init__(
        self,
        model: Any,
        *,
        max_new_tokens: int,
        ends: set[int],
        complete: Callable[[Any, list[int]], bool],
        left_over: int,
    ) -> None:
        self.written: dict[Any, list[int]] = {}
        self._model = model
        self._max_new_tokens = max_new_tokens
        self._ends = ends
        self._complete = complete
        self._left_over = left_over
        self._going: _Going | None = None

    @torch.inference_mode()
    def add(self, keys: Sequence[Any], prefix: Prefix, *, last: bool) -> None:
        """Begin the answers to prompts, a key each, and write until few are left.

        Args:
            last: nobody needs the prefix afterwards.
        """
        self.written |= {key: [] for key in keys}
        tokens = prefix.logits.argmax(-1)
        if places := self._unfinished(keys, tokens):
            rows = torch.tensor(places, device=tokens.device)
            mask = prefix.attention_mask[rows]
            begun = _Going(
                keys=[keys[place] for place in places],
                tokens=tokens[rows],
                attention_mask=F.pad(mask, (0, 1), value=1),
                position=prefix.position[rows],
                past=prefix.take(rows, last=last),
            )
            if self._going and not (_can_be_joined(begun.past) and _can_be_joined(self._going.past)):
                self.finish()
            self._going = _joined(self._going, begun) if self._going else begun
        self._write(self._left_over)

    @torch.inference_mode()
    def finish(self) -> None:
        """Write all answers to their end."""
        self._write(0)

    def _write(self, left_over: int) -> None:
        while self._going and len(self._going.keys) > left_over:
            going = self._going
            logits = self._model(
                input_ids=going.tokens[:, None],
                attention_mask=going.attention_mask,
                position_ids=going.position[:, None],
                past_key_values=going.past,
                use_cache=True,
            ).logits[:, -1]
            going.tokens = logits.argmax(-1)
            going.position = going.position + 1
            going.attention_mask = F.pad(going.attention_mask, (0, 1), value=1)
            places = self._unfinished(going.keys, going.tokens)
            if not places:
                self._going = None
                return
            going.kept(places)

    def _unfinished(self, keys: Sequence[Any], tokens: torch.Tensor) -> list[int]:
        """Take the next token of each answer; the places of those that go on."""
        going = []
        for place, (key, token) in enumerate(zip(keys, tokens.tolist(), strict=True)):
            if token in self._ends:
                continue
            answer = self.written[key]
            answer.append(token)
            if len(answer) < self._max_new_tokens and not self._complete(key, answer):
                going.append(place)
        return going


def _can_be_joined(past: Any) -> bool:
    """Whether all that a cache holds is a key and a value for each position."""
    layers: list[Any] = getattr(past, "layers", [])
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _joined(first: _Going, second: _Going) -> _Going:
    """Both in one batch; the shorter ones are padded on the left, and what all have as padding goes."""
    length = max(first.attention_mask.shape[1], second.attention_mask.shape[1])
    mask = torch.cat([_padded(one.attention_mask, length, dim=1) for one in (first, second)])
    begin = int(mask.any(dim=0).int().argmax())
    for ours, theirs in zip(first.past.layers, second.past.layers, strict=True):
        for name in ("keys", "values"):  # of each position but the last token's
            parts = [_padded(getattr(layer, name), length - 1, dim=-2) for layer in (ours, theirs)]
            setattr(ours, name, torch.cat(parts)[..., begin:, :])
    return _Going(
        first.keys + second.keys,
        torch.cat([first.tokens, second.tokens]),
        mask[:, begin:],
        torch.cat([first.position, second.position]),
        first.past,
    )


def _padded(given: torch.Tensor, length: int, dim: int) -> torch.Tensor:
    missing = length - given.shape[dim]
    if not missing:
        return given
    shape = list(given.shape)
    shape[dim] = missing
    return torch.cat([given.new_zeros(shape), given], dim=dim)
