"""What the vision tower learns from is read with the same care as every other picture."""

import io
import json
import zipfile
from pathlib import Path

import PIL.Image
import pytest
import torch

from examples.picture_world.backbones.train_vision import _image_processor, _PictureCollator, _read_pictures
from parrot.errors import ParrotError

REGION = {"x": 0, "y": 0, "width": 8, "height": 8, "phrase": "a red square"}
PROCESSOR = _image_processor(16)


def picture() -> PIL.Image.Image:
    return PIL.Image.radial_gradient("L").resize((8, 8)).convert("RGB")


def write(folder: Path, image: str) -> Path:
    """One described picture, stored as `pictures/0.png`."""
    file = io.BytesIO()
    picture().save(file, "PNG")
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pictures/0.png", file.getvalue())
    items = [{"id": 7, "image": image, "regions": [REGION]}]
    (folder / "region_descriptions.json").write_text(json.dumps(items))
    return folder


@pytest.mark.parametrize("image", ["pictures/0.png", "0.png"])
def test_pictures_are_found(image: str, tmp_path: Path) -> None:
    pictures, vocabulary = _read_pictures(write(tmp_path, image), 2, PROCESSOR)
    assert len(pictures) == 1
    assert vocabulary == ["a", "red", "square"]
    assert pictures[0].tags.all(1).tolist() == [True, False, False, False, False]  # of the whole picture


def test_the_tower_learns_from_what_its_processor_makes(tmp_path: Path) -> None:
    pictures, _ = _read_pictures(write(tmp_path, "0.png"), 2, PROCESSOR)
    batch = _PictureCollator(PROCESSOR)(pictures)
    torch.testing.assert_close(
        batch["pixel_values"], PROCESSOR(picture(), return_tensors="pt")["pixel_values"]
    )


@pytest.mark.parametrize("image", ["1.png", "../0.png", None])
def test_a_picture_that_is_not_there_is_named(image: str, tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match=r"region_descriptions.json: picture 7: image: "):
        _read_pictures(write(tmp_path, image), 2, PROCESSOR)


def test_a_broken_archive_is_a_sentence(tmp_path: Path) -> None:
    archive = write(tmp_path, "0.png") / "images.zip"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-30])
    with pytest.raises(ParrotError, match=r"images.zip: a zip archive that is broken"):
        _read_pictures(tmp_path, 2, PROCESSOR)
    archive.write_bytes(whole[:50] + b"\xff\xff\xff" + whole[53:])
    with pytest.raises(ParrotError, match=r"picture 7: image: unreadable image: 0.png"):
        _read_pictures(tmp_path, 2, PROCESSOR)
