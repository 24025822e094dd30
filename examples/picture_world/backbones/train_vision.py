"""A small CLIP vision tower, trained from scratch to say which words belong to which patch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm.auto import tqdm
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

from examples.picture_world.backbones.regions import parse_regions, words_by_position
from examples.picture_world.sections import VisionTower
from parrot.data.images import ImageStore, decode
from parrot.data.rejects import Rejected
from parrot.errors import ParrotError
from parrot.files import atomic_directory, write_json
from parrot.training.trainer import ParameterGroup, TrainingRun, fit

CLS_WEIGHT = 0.5
"""Of the loss at CLS beside that of all patches together; one patch has a sixteenth."""
HELD_OUT = 0.04
"""Share of the pictures kept from training, on which the tower is measured."""


@dataclass(frozen=True)
class Picture:
    """What the tower sees and what it is to say: made once, since each picture is seen several times."""

    pixels: Tensor
    """[3, height, width] of 0 to 255, in the tower's size."""
    tags: Tensor
    """[1 + patches, words]: whether each word is said at CLS and at each patch."""


class PatchTagger(nn.Module):
    """Vision tower with one linear layer that reads tags off CLS and every patch."""

    def __init__(self, vision_tower: CLIPVisionModel, num_tags: int) -> None:
        super().__init__()
        self.vision_tower = vision_tower
        self.classifier = nn.Linear(vision_tower.config.hidden_size, num_tags)

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """`pixel_values` [batch, 3, height, width], `labels` [batch, 1 + patches, tags] of 0 and 1."""
        logits = self.classifier(self.vision_tower(pixel_values).last_hidden_state)
        per_position = binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(-1)
        loss = CLS_WEIGHT * per_position[:, 0].mean() + per_position[:, 1:].mean()
        return {"loss": loss, "logits": logits}


def train_vision(
    vision: VisionTower,
    seed: int,
    *,
    data: Path,
    output: Path,
    curve: Path,
    metrics: Path,
    run: TrainingRun,
) -> dict[str, Any]:
    """Train a small vision tower, written as a Hub-style folder.

    Args:
        data: folder with images.zip and region_descriptions.json
        output: folder to write: the tower and its image processor
        curve: CSV to write: the loss as it fell
        metrics: JSON to write: how well it sees

    Returns:
        What `metrics` holds.

    Raises:
        ParrotError: the pictures or their regions cannot be read, or are too few.
    """
    processor = _image_processor(vision.image_size)
    pictures, vocabulary = _read_pictures(data, vision.image_size // vision.patch_size, processor)
    held = max(1, round(HELD_OUT * len(pictures)))
    training_set, held_out = pictures[:-held], pictures[-held:]
    if not training_set:
        raise ParrotError(f"{data}: too few pictures ({len(pictures)}) to train a tower on")
    torch.manual_seed(seed)
    tower = CLIPVisionModel(CLIPVisionConfig(**vision.model_dump(exclude={"training"})))
    model = PatchTagger(tower, len(vocabulary))
    collate = _PictureCollator(processor)
    history = fit(
        model,
        [ParameterGroup(list(model.parameters()), vision.training.learning_rate)],
        training_set,
        collate,
        vision.training,
        run,
        seed=seed,
        lengths=[1] * len(training_set),
    )
    measured = _measure(model, held_out, collate)
    history.write_csv(curve)
    with atomic_directory(output) as partial:
        tower.save_pretrained(partial)
        processor.save_pretrained(partial)
    write_json(metrics, measured)
    return measured


def _image_processor(image_size: int) -> CLIPImageProcessorPil:
    size = {"height": image_size, "width": image_size}
    return CLIPImageProcessorPil(size=size, crop_size=size)


def _read_pictures(
    data: Path, grid: int, processor: CLIPImageProcessorPil
) -> tuple[list[Picture], list[str]]:
    """All pictures with the words of each position, and the sorted vocabulary of words."""
    file = data / "region_descriptions.json"
    try:
        items = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParrotError(f"{file}: missing; `parrot data` fetches or makes it") from None
    except (ValueError, RecursionError) as error:
        raise ParrotError(f"{file}: not readable: {error}") from None
    store = ImageStore(data / "images.zip")
    described = []
    for item in tqdm(items, "reading pictures", unit=""):
        where = f"{file}: picture {item.get('id')}"
        positions = words_by_position(parse_regions(item.get("regions"), where), grid)
        try:
            image = decode(store.read(str(item.get("image"))))
        except Rejected as error:
            raise ParrotError(f"{where}: {error}") from None
        sized = processor(image, do_rescale=False, do_normalize=False, return_tensors="pt")
        described.append((sized["pixel_values"][0], positions))
    words = {
        word for _, positions in described for phrases in positions for phrase in phrases for word in phrase
    }
    vocabulary = sorted(words)
    index = {word: i for i, word in enumerate(vocabulary)}
    pictures = []
    for pixels, positions in described:
        tags = torch.zeros(len(positions), len(vocabulary), dtype=torch.bool)
        for said, phrases in zip(tags, positions, strict=True):
            said[[index[word] for phrase in phrases for word in phrase]] = True
        pictures.append(Picture(pixels, tags))
    return pictures, vocabulary


class _PictureCollator:
    def __init__(self, processor: CLIPImageProcessorPil) -> None:
        self._scale = processor.rescale_factor
        self._mean, self._std = (
            torch.tensor(values).reshape(3, 1, 1) for values in (processor.image_mean, processor.image_std)
        )

    def __call__(self, pictures: list[Picture]) -> dict[str, Tensor]:
        pixels = torch.stack([picture.pixels for picture in pictures])
        return {
            "pixel_values": (pixels * self._scale - self._mean) / self._std,
            "labels": torch.stack([picture.tags for picture in pictures]).float(),
        }


@torch.inference_mode()
def _measure(model: PatchTagger, pictures: list[Picture], collate: _PictureCollator) -> dict[str, float]:
    """Mean F1 over the words at CLS and at the patches, in pictures never trained on.

    Every word counts alike: rare ones such as nouns are what questions ask for.
    """
    model.eval()
    right, said, true = (torch.zeros(2, model.classifier.out_features) for _ in range(3))
    for start in range(0, len(pictures), 100):
        batch = collate(pictures[start : start + 100])
        predicted = model(**batch)["logits"] > 0
        labels = batch["labels"].bool()
        for i, positions in enumerate((slice(0, 1), slice(1, None))):
            right[i] += (predicted & labels)[:, positions].sum((0, 1))
            said[i] += predicted[:, positions].sum((0, 1))
            true[i] += labels[:, positions].sum((0, 1))
    f1 = 2 * right / (said + true).clamp(min=1)
    picture, patches = (f1[i][true[i] > 0].mean().item() for i in range(2))
    return {"f1_picture": round(picture, 4), "f1_patches": round(patches, 4)}
