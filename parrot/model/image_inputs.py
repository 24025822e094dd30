"""What a processor is given, checked sample by sample."""

import os
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .image_decoding import decode_base64_image, decode_image, upright_rgb

MAX_DOWNLOAD_BYTES = 256 << 20
DOWNLOAD_TIMEOUT = 60.0
"""Seconds without a byte."""


def checked_images(images: Any, texts: Sequence[str] | None, image_token: str, background: str) -> Any:
    """The images of all samples in one list, each as `checked_image` gives it; a batched array as it is.

    Args:
        images: none, one, a list for all samples, or a list for each of them.
        texts: of the samples; None if there are only images.

    Raises:
        ValueError: an empty text, a number of images that differs from that of the `image_token`, or
            an image that is none; names the sample.
    """
    for sample, text in enumerate(texts or ()):
        if not text.strip():
            raise ValueError(f"sample {sample}: an empty prompt")
    if isinstance(images, np.ndarray | torch.Tensor):
        return images
    if texts is None:
        flat = _flat(images, [], image_token)
        return [checked_image(image, f"image {i}", background) for i, image in enumerate(flat)] or None
    counts = [text.count(image_token) for text in texts]
    flat = _flat(images, counts, image_token)
    if len(flat) != sum(counts):
        raise ValueError(
            f"{sum(counts)} {image_token} in the texts ({counts} by sample), but {len(flat)} images"
        )
    samples = np.repeat(np.arange(len(counts)), counts)
    checked = [
        checked_image(image, f"sample {sample}", background)
        for sample, image in zip(samples, flat, strict=True)
    ]
    return checked or None


def checked_image(image: Any, where: str, background: str) -> Any:
    """The image as the model sees it: upright RGB (see `image_decoding`); an array or tensor as it is.

    Args:
        image: encoded bytes, a path, an address, a data URI or base64, what Pillow has opened, or an array.

    Raises:
        ValueError: it is none of these, or cannot be decoded; begins with `where`.
    """
    if isinstance(image, np.ndarray | torch.Tensor):
        return image
    try:
        if isinstance(image, Image.Image):
            return upright_rgb(image, background)
        if isinstance(image, str | os.PathLike | bytes):
            return decode_image(_encoded(image), background)
    except (OSError, HTTPException, ValueError) as error:
        named = f" from '{image[:80]}'" if isinstance(image, str) else ""
        raise ValueError(f"{where}: no image could be read{named}: {error}") from None
    raise ValueError(f"{where}: expected an image, found {type(image).__name__}")


def _encoded(source: str | os.PathLike[str] | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, os.PathLike) or _is_file(source):
        return Path(source).read_bytes()
    if source.startswith(("http://", "https://")):
        return _fetched(source)
    try:
        return decode_base64_image(source)
    except ValueError as error:
        raise ValueError(f"neither a file nor an address, and as a picture in text: {error}") from None


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # too long for a path, as base64 is, or with NUL
        return False


def _fetched(address: str) -> bytes:
    request = urllib.request.Request(address, headers={"User-Agent": "ParrotProcessor"})
    with urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT) as response:
        content: bytes = response.read(MAX_DOWNLOAD_BYTES + 1)
    if len(content) > MAX_DOWNLOAD_BYTES:
        raise ValueError(f"more than {MAX_DOWNLOAD_BYTES >> 20} MiB")
    return content


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
