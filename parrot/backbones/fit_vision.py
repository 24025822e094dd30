"""A published vision tower, made fit for Parrot."""

from pathlib import Path

from PIL import Image
from transformers import AutoImageProcessor, AutoModel

from parrot.backbones.hub import sentence
from parrot.backbones.pretrained import config_of, load
from parrot.errors import ParrotError
from parrot.files import atomic_directory


def fit_vision(folder: Path, output: Path) -> list[str]:
    """Write the tower in `folder` and its image processor to `output`; say in sentences what was changed.

    Raises:
        ParrotError: it is no tower of CLIP or SigLIP, or its parts do not go together.
    """
    said = []
    config_of(folder, "vision")
    whole = load(folder, AutoModel)
    tower = getattr(whole, "vision_model", whole)
    config = tower.config
    if tower is not whole:
        said.append(f"the vision tower of a {type(whole).__name__} was taken, its text part left out")
    if config.model_type == "siglip_vision_model" and not config.vision_use_head:
        raise ParrotError(f"{folder}: vision_use_head is false, but Parrot needs SigLIP's pooling head")
    try:
        processor = AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
        shape = processor([Image.new("RGB", (40, 30))], return_tensors="pt")["pixel_values"].shape[-2:]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ParrotError(f"{folder}: its image processor cannot be used: {sentence(error)}") from None
    if tuple(shape) != (config.image_size, config.image_size):
        raise ParrotError(
            f"{folder}: the image processor makes pictures of {' x '.join(map(str, shape))} pixels, "
            f"the tower takes {config.image_size} x {config.image_size}"
        )
    if not any(folder.glob("*.safetensors")):
        said.append("weights that were published as .bin are written as .safetensors")
    with atomic_directory(output) as partial:
        tower.save_pretrained(partial)
        processor.save_pretrained(partial)
    return said
