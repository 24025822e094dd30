"""A model's answers to prompts that it has read: how likely given ones are; `writing.py` has it write.

A prompt is computed once, whatever is asked about its answer. A multilingual mixture of experts thereby
sees the prompt alone, as in training: it routes when the prompt is computed, before any answer is there.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence


@dataclass
class Prefix:
    """B prompts of at most T positions that a model has read."""

    logits: torch.Tensor
    """Of the first token of the answer [B, V]."""
    past: Any
    """The cache. Whoever uses it up says so by `take`."""
    attention_mask: torch.Tensor
    """[B, T]; prompts are padded on the left."""
    position: torch.Tensor
    """Of the first token of the answer [B]."""
    routing: torch.Tensor | None
    """The experts' weights [B, experts], if the model has experts and was shown pictures."""

    def take(self, rows: torch.Tensor, *, last: bool) -> Any:
        """The cache of these rows; the whole is kept for others unless this is the `last` use."""
        past = self.past if last else copy.deepcopy(self.past)
        past.batch_select_indices(rows)
        return past


@torch.inference_mode()
def read_prompts(model: Any, prompts: dict[str, torch.Tensor]) -> Prefix:
    """Compute prompts: input_ids and attention_mask [B, T], padded on the left, and their pictures."""
    prompts = {name: value.to(model.device) for name, value in prompts.items()}
    mask = prompts["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    outputs = model(**prompts, position_ids=positions, use_cache=True, logits_to_keep=1)
    routing = getattr(outputs, "routing_weights", None)
    return Prefix(
        logits=outputs.logits[:, -1],
        past=outputs.past_key_values,
        attention_mask=mask,
        position=positions[:, -1] + 1,
        routing=None if routing is None else routing.float().cpu(),
    )


@torch.inference_mode()
def log_likelihoods(
    model: Any, prefix: Prefix, candidates: Sequence[Sequence[list[int]]], *, last: bool
) -> list[list[float]]:
    """log p(candidate | prompt), in nats, summed over the candidate's tokens.

    Args:
        candidates: for each prompt the token ids of its possible answers.
        last: nobody needs the prefix afterwards.
    """
    device = prefix.logits.device
    rows = torch.tensor([row for row, answers in enumerate(candidates) for _ in answers], device=device)
    answers = [torch.tensor(ids, device=device) for row in candidates for ids in row]
    targets = pad_sequence(answers, batch_first=True, padding_value=-1)  # [answers, tokens]
    given = targets >= 0
    targets = targets.clamp(min=0)
    logits = prefix.logits[rows, None]  # of each answer's first token
    if targets.shape[1] > 1:
        mask = prefix.attention_mask
        following = model(
            input_ids=targets[:, :-1],
            attention_mask=torch.cat([mask[rows], given[:, :-1].to(mask.dtype)], dim=1),
            position_ids=prefix.position[rows, None] + torch.arange(targets.shape[1] - 1, device=device),
            past_key_values=prefix.take(rows, last=last),
        )
        logits = torch.cat([logits, following.logits], dim=1)
    logits = logits.float()
    of_tokens = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
    sums = iter(of_tokens.masked_fill(~given, 0.0).sum(-1).tolist())
    return [[next(sums) for _ in answers] for answers in candidates]
