"""Where images, prompts and labels stand in a batch, found before an accelerator has to be waited for."""

from typing import Any

import torch
from torch.nn import functional as F

from .image_positions import image_samples, position_samples

IGNORE_INDEX = -100
Places = dict[str, Any]
"""What `places_of` finds: shapes depend on it, so an accelerator that had to find it would be waited for. Who
has the ids on the CPU, as a collator does, finds it there and gives it along."""


def places_of(
    input_ids: torch.Tensor,
    image_token_id: int,
    length: int,
    images: int,
    *,
    attention_mask: Any = None,
    position_ids: torch.Tensor | None = None,
    prompt_mask: torch.Tensor | None = None,
) -> Places:
    """Where images and prompts stand in a batch of `input_ids` [B, T].

    Args:
        length: positions of an image.
        images: how many there are, N.
        attention_mask, position_ids, prompt_mask: as a model's forward pass takes them.

    Returns:
        `images` [N · length] and `prompt` [P], places in the flattened batch; `image_samples` [N] and
        `prompt_samples` [P], which sample that is; `most_images`, the number of the row that has most.

    Raises:
        ValueError: images and their positions do not match.
    """
    positions = input_ids.eq(image_token_id)
    samples = position_samples(positions, position_ids if attention_mask is None else None)
    of_images = image_samples(positions, samples, images, length)
    prompt = ~positions
    if torch.is_tensor(attention_mask) and attention_mask.ndim == 2:
        prompt = prompt & attention_mask[:, -prompt.shape[1] :].bool()
    if prompt_mask is not None:
        prompt = prompt & F.pad(prompt_mask.bool(), (0, prompt.shape[1] - prompt_mask.shape[1]))
    places = flat_places(prompt)
    return {
        "images": flat_places(positions),
        "image_samples": of_images,
        "prompt": places,
        "prompt_samples": samples.flatten()[places],
        "most_images": int(positions.sum(dim=1).max()) // length,
    }


def flat_places(mask: torch.Tensor) -> torch.Tensor:
    """Where a mask [B, T] is true, in the flattened batch."""
    return mask.flatten().nonzero()[:, 0]


def next_labels(labels: torch.Tensor) -> torch.Tensor:
    """What each position is to predict [B, T]: position t predicts label t + 1."""
    return F.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)
