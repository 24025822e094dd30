"""Which images a batch has where, from the positions that they take in its text."""

import torch


def position_samples(image_positions: torch.Tensor, position_ids: torch.Tensor | None) -> torch.Tensor:
    """The sample that each position of the batch belongs to [B, T], counted through the batch.

    A row is a sample, or several where its position ids, if given, begin anew: a packed row. The language
    model keeps these apart by the same sign.
    """
    begins = torch.zeros_like(image_positions)
    begins[:, 0] = True
    if position_ids is not None:
        begins[:, 1:] = position_ids.diff() != 1
    return begins.flatten().cumsum(0).view_as(begins) - 1


def image_samples(
    image_positions: torch.Tensor, samples: torch.Tensor, images: int, length: int
) -> torch.Tensor:
    """The sample that each image belongs to [N], from the image positions and samples [B, T] of the batch.

    Raises:
        ValueError: `images` of `length` positions each are not what stands there.
    """
    of_positions = samples[image_positions]
    counts = torch.bincount(of_positions, minlength=int(samples[-1, -1]) + 1).tolist()
    torn = [sample for sample, count in enumerate(counts) if count % length]
    if sum(counts) != images * length or torn:
        where = f"sample {torn[0]} has {counts[torn[0]]}" if torn else f"per sample there are {counts}"
        raise ValueError(
            f"{images} images of {length} positions each need {images * length} image positions in "
            f"input_ids, found {sum(counts)}; {where}"
        )
    position = image_positions.nonzero()[:, 1]  # [N · L]
    first, last = position[::length], position[length - 1 :: length]
    of_images = of_positions[::length]
    scattered = of_images[last - first != length - 1].tolist()
    if scattered:
        raise ValueError(
            f"sample {scattered[0]}: the {length} positions of an image in input_ids are not successive"
        )
    return of_images


def latest_image(image_positions: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    """The number of the latest image of the same sample at each position [B, T], counted through the row from
    1; 0 before a sample's first image. Each image is one position."""
    number = image_positions.cumsum(dim=1)
    begins = samples.flatten().diff(prepend=samples.new_tensor([-1])) != 0
    before = (number - image_positions.long()).flatten()[begins][samples]
    return torch.where(number > before, number, 0)


def repeat_images(
    pixel_values: torch.Tensor, image_positions: torch.Tensor, length: int, times: int
) -> torch.Tensor:
    """`pixel_values` [N, …] for samples that are repeated, each directly after itself [N · times, …]."""
    counts = image_positions.sum(dim=1) // length
    return torch.cat([images for images in torch.split(pixel_values, counts.tolist()) for _ in range(times)])
