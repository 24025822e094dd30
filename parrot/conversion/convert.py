"""`parrot convert`: a checkpoint of the authors' code to a Hugging Face folder, and back."""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    Qwen2Tokenizer,
)

from parrot.conversion import layout
from parrot.conversion.tensors import Checkpoint, check, write
from parrot.errors import ParrotError
from parrot.files import atomic_directory, write_json
from parrot.loading import load_processor
from parrot.model.chat_format import CHAT_TEMPLATE
from parrot.model.registered import ParrotConfig, ParrotProcessor

IMAGE_TOKEN = "<image>"
ORIGINAL_CONFIG = "original_config.json"
"""Kept beside ours, so that the way back gives the same config."""
_TOWER_FOLDER = "vision_tower/clip-vit"
"""The authors' code insists on this name."""


def convert(source: Path, target: Path, vision_tower: Path | None = None) -> None:
    """Write the authors' checkpoint `source` as a Hugging Face folder with processor and tokenizer.

    Args:
        source: `config.json`, tokenizer and safetensors or `.bin` files, whole or in shards.
        target: a new folder.
        vision_tower: a folder with the tower's config and image processor, and its weights if they are
            not in `source`; by default what `mm_vision_tower` names, as a path within or beside `source`.

    Raises:
        ParrotError: something is missing, misshapen, left over or cannot be expressed; nothing is written.
    """
    _check_target(target)
    original = _read_json(source / "config.json")
    tower = vision_tower or _find_tower(source, str(original.get("mm_vision_tower", "")))
    tokenizer = _tokenizer(source)
    config = layout.parrot_config(original, _tower_config(tower), tokenizer.image_token_id)
    tensors = layout.to_ours(config, original["vocab_size"])
    checkpoint = Checkpoint(source)
    if not any(name.startswith(layout.TOWER) for name in checkpoint.shapes):
        alone = Checkpoint(tower)
        prefixed = any(name.startswith(layout.TOWER_ALONE) for name in alone.shapes)
        checkpoint.add(alone, layout.TOWER_ALONE if prefixed else "", layout.TOWER)
    check(tensors, checkpoint, source, layout.is_buffer)
    config.architectures = ["ParrotForConditionalGeneration"]
    config.dtype = original.get("torch_dtype")
    with atomic_directory(target) as partial:
        write(tensors, checkpoint, partial)
        config.save_pretrained(partial)
        _processor(tokenizer, tower, config, original).save_pretrained(partial)
        _generation_config(source, tokenizer).save_pretrained(partial)
        write_json(partial / ORIGINAL_CONFIG, original)


def convert_back(source: Path, target: Path, vision_tower: str | None = None) -> None:
    """Write a Parrot folder `source` in the layout of the authors' code.

    Args:
        source: a folder as `convert`, training or packaging writes it.
        target: a new folder.
        vision_tower: what `mm_vision_tower` shall name; by default what it named before the
            conversion, and else a folder within `target` that is written as well.

    Raises:
        ParrotError: the model is none that the authors' code can express, or its tensors do not fit.
    """
    _check_target(target)
    config = _our_config(source)
    base = _read_json(source / ORIGINAL_CONFIG) if (source / ORIGINAL_CONFIG).exists() else {}
    processor = load_processor(source)
    named = vision_tower or base.get("mm_vision_tower", _TOWER_FOLDER)
    original = layout.original_config(
        config,
        base,
        named,
        pad_to_square=processor.pad_to_square,
        max_length=min(processor.tokenizer.model_max_length, config.text_config.max_position_embeddings),
    )
    tensors = layout.to_originals(config, original["vocab_size"])
    checkpoint = Checkpoint(source)
    check(tensors, checkpoint, source, layout.is_buffer)
    with atomic_directory(target) as partial:
        write(tensors, checkpoint, partial)
        write_json(partial / "config.json", original)
        processor.tokenizer.save_pretrained(partial)
        if (source / "generation_config.json").exists():
            shutil.copy(source / "generation_config.json", partial)
        if named == _TOWER_FOLDER:
            config.vision_config.save_pretrained(partial / _TOWER_FOLDER)
            processor.image_processor.save_pretrained(partial / _TOWER_FOLDER)


def _check_target(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ParrotError(f"{target}: exists already; name a new folder")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParrotError(f"{file}: missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ParrotError(f"{file}: not JSON ({error})") from None
    return content


def _our_config(source: Path) -> ParrotConfig:
    found = _read_json(source / "config.json").get("model_type")
    if found != ParrotConfig.model_type:
        raise ParrotError(
            f"{source / 'config.json'}: model_type is '{found}', expected '{ParrotConfig.model_type}'"
        )
    config: ParrotConfig = ParrotConfig.from_pretrained(source)
    return config


def _find_tower(source: Path, named: str) -> Path:
    for folder in (source / named, source.parent / named):
        if named and (folder / "config.json").exists():
            return folder
    raise ParrotError(
        f"{source / 'config.json'}: mm_vision_tower is '{named}', which is no folder here; "
        "name the tower's folder with --vision-tower"
    )


def _tower_config(folder: Path) -> CLIPVisionConfig:
    """Of a whole CLIP model or of its vision tower alone."""
    content = _read_json(folder / "config.json")
    if content.get("model_type") not in ("clip", "clip_vision_model"):
        raise ParrotError(
            f"{folder / 'config.json'}: model_type is '{content.get('model_type')}', expected a CLIP model"
        )
    config: CLIPVisionConfig = CLIPVisionConfig.from_pretrained(folder)
    return config


def _tokenizer(source: Path) -> Qwen2Tokenizer:
    """The tokenizer with `<image>` added, if it has none."""
    try:
        tokenizer: Qwen2Tokenizer = Qwen2Tokenizer.from_pretrained(
            source, extra_special_tokens={"image_token": IMAGE_TOKEN}
        )
    except (OSError, ValueError) as error:
        raise ParrotError(f"{source}: no tokenizer there ({str(error).partition(chr(10))[0]})") from None
    if tokenizer.pad_token is None:
        raise ParrotError(f"{source / 'tokenizer_config.json'}: no pad_token is set")
    return tokenizer


def _processor(
    tokenizer: Qwen2Tokenizer, tower: Path, config: ParrotConfig, original: dict[str, Any]
) -> ParrotProcessor:
    if (tower / "preprocessor_config.json").exists():
        image_processor = CLIPImageProcessorPil.from_pretrained(tower)
    else:
        side = config.vision_config.image_size
        image_processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=side)
    return ParrotProcessor(
        image_processor,
        tokenizer,
        chat_template=CHAT_TEMPLATE,  # as the authors train, whatever the tokenizer's own says
        image_seq_length=config.image_seq_length,
        pad_to_square=original.get("image_aspect_ratio") == "pad",
    )


def _generation_config(source: Path, tokenizer: Qwen2Tokenizer) -> GenerationConfig:
    """What the checkpoint says, with the tokens that end and pad a turn where it says nothing."""
    file = source / "generation_config.json"
    given = _read_json(file) if file.exists() else {}
    given = {key: value for key, value in given.items() if not key.startswith("_")}
    return GenerationConfig(
        **{"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        | given
        | {"use_cache": True}
    )
