"""Which images a batch has where, from the positions that they take in its text."""

import torch


def image_samples(image_positions: torch.Tensor, images: int, length: int) -> torch.Tensor:
    """The sample that each image belongs to [N], from the image positions [B, T] of the batch.

    Raises:
        ValueError: `images` of `length` positions each are not what stands there.
    """
    counts = image_positions.sum(dim=1).tolist()
    torn = [sample for sample, count in enumerate(counts) if count % length]
    if sum(counts) != images * length or torn:
        where = f"sample {torn[0]} has {counts[torn[0]]}" if torn else f"per sample there are {counts}"
        raise ValueError(
            f"{images} images of {length} positions each need {images * length} image positions in "
            f"input_ids, found {sum(counts)}; {where}"
        )
    places = image_positions.nonzero()  # [N · L, sample and position]
    first, last = places[::length], places[length - 1 :: length]
    scattered = first[last[:, 1] - first[:, 1] != length - 1, 0].tolist()
    if scattered:
        raise ValueError(
            f"sample {scattered[0]}: the {length} positions of an image in input_ids are not successive"
        )
    return first[:, 0]


def repeat_images(
    pixel_values: torch.Tensor, image_positions: torch.Tensor, length: int, times: int
) -> torch.Tensor:
    """`pixel_values` [N, …] for samples that are repeated, each directly after itself [N · times, …]."""
    counts = image_positions.sum(dim=1) // length
    return torch.cat([images for images in torch.split(pixel_values, counts.tolist()) for _ in range(times)])
