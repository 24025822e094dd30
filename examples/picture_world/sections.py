"""The sections of `examples/picture_world/params.yaml`, in the manner of `parrot.config`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from parrot.config import Count, Rate, RatedTraining, Section, Seed
from parrot.params import load_sections

SECTIONS_FILE = Path("examples/picture_world/params.yaml")


class World(Section):
    """How much of the picture world is written to `data/`."""

    seed: Seed
    backbone_pictures: Count
    reading_documents: Count
    align_captions: Count
    align_questions: Count
    sft_pictures: Count
    text_instructions: Count
    questions_per_category: Count


class VisionTower(Section):
    """The small tower: its sizes as in `CLIPVisionConfig`, and how it is trained."""

    image_size: Count
    patch_size: Count
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    training: RatedTraining


class Letters(Section):
    """What is other than in the training before it."""

    max_steps: Annotated[int, Field(ge=0)]
    save_steps: Count
    learning_rate: Rate


class LanguageModel(Section):
    """The small language model: its sizes as in `Qwen2Config`, and how it is trained."""

    grid: Count
    """Patches on one side of the pictures that it learns to read."""
    embedding_learning_rate: Rate
    """Of the words; they are rarer than the rest and need larger steps."""
    rope_theta: Rate
    vocab_size: Annotated[int, Field(ge=300)]
    hidden_size: Count
    intermediate_size: Count
    num_attention_heads: Annotated[int, Field(ge=4)]
    """Of the first four, some are told where to look (`backbones/grid_reader.py`)."""
    num_key_value_heads: Count
    training: RatedTraining
    """To read; with the layer that finds options it goes on as `letters` says."""
    letters: Letters


class PictureWorld(Section):
    """All of `examples/picture_world/params.yaml`."""

    world: World
    vision: VisionTower
    language: LanguageModel


def load_picture_world() -> PictureWorld:
    """Read and check the file, from the project's top folder.

    Raises:
        ParrotError: it is missing, or one of its keys or values is wrong; names file and key.
    """
    return load_sections(SECTIONS_FILE, PictureWorld)
