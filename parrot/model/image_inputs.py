"""What a processor is given, checked sample by sample."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_utils import load_image


def checked_images(images: Any, texts: Sequence[str], image_token: str) -> Any:
    """The images of all samples in one list, loaded where they were named; a batched array as it is.

    Args:
        images: none, one, a list for all samples, or a list for each of them.

    Raises:
        ValueError: an empty text, a number of images that differs from that of the `image_token`, or
            an image that is none; names the sample.
    """
    for sample, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"sample {sample}: an empty prompt")
    if isinstance(images, np.ndarray | torch.Tensor):
        return images
    counts = [text.count(image_token) for text in texts]
    flat = _flat(images, counts, image_token)
    if len(flat) != sum(counts):
        raise ValueError(
            f"{sum(counts)} {image_token} in the texts ({counts} by sample), but {len(flat)} images"
        )
    samples = np.repeat(np.arange(len(counts)), counts)
    checked = [checked_image(image, f"sample {sample}") for sample, image in zip(samples, flat, strict=True)]
    return checked or None


def checked_image(image: Any, where: str) -> Any:
    """The image, loaded if it is a path or an address."""
    if isinstance(image, str):
        try:
            return load_image(image)
        except (OSError, ValueError) as error:
            raise ValueError(f"{where}: no image could be read from '{image[:80]}': {error}") from None
    if not isinstance(image, Image.Image | np.ndarray | torch.Tensor):
        raise ValueError(f"{where}: expected an image, found {type(image).__name__}")
    return image


def _flat(images: Any, counts: Sequence[int], image_token: str) -> list[Any]:
    if images is None:
        return []
    if not isinstance(images, list | tuple):
        return [images]
    if not images or not all(isinstance(of_sample, list | tuple) for of_sample in images):
        return list(images)
    for sample, (count, of_sample) in enumerate(zip(counts, images, strict=False)):
        if count != len(of_sample):
            raise ValueError(
                f"sample {sample}: {count} {image_token} in its text, but {len(of_sample)} images"
            )
    return [image for of_sample in images for image in of_sample]


__all__ = ["checked_image", "checked_images"]
