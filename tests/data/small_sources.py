"""Small upstream files for the tests of prepare."""

import base64
import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import PIL.Image
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, Qwen2Config

from examples.picture_world.backbones.train_tokenizer import train_tokenizer
from parrot.config import Flamingo, Model, Prepare


def picture(number: int, size: tuple[int, int] = (8, 8)) -> bytes:
    """A flat JPEG of its own colour."""
    file = io.BytesIO()
    colour = (number * 8 % 256, number * 40 % 256, number * 90 % 256)
    PIL.Image.new("RGB", size, colour).save(file, "JPEG", quality=95)
    return file.getvalue() + b"%d" % number  # behind the picture's end, so that no two are equal


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if place % 2 else "human", "value": text} for place, text in enumerate(texts)]


def conversation(
    number: int, question: str = "<image>\nWhat is it?", answer: str | None = None
) -> dict[str, Any]:
    return {
        "id": f"c{number}",
        "image": f"{number}.jpg",
        "conversations": turns(question, answer or f"Number {number}."),
    }


def instruction(number: int) -> dict[str, str]:
    return {"instruction": f"Say {number}.", "input": "", "output": str(number)}


def write_json_list(path: Path, items: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(items, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def question(index: int, image: bytes | str, **cells: Any) -> dict[str, Any]:
    text = image if isinstance(image, str) else base64.b64encode(image).decode()
    row = {
        "index": index,
        "question": f"What is {index}?",
        "hint": "",
        "A": "one",
        "B": "two",
        "C": "",
        "D": "",
    }
    return row | {"answer": "A", "category": "count", "split": "dev", "image": text} | cells


def write_tsv(path: Path, rows: list[dict[str, Any]], encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def small_world(folder: Path, *, conversations: int = 30) -> Prepare:
    """Two splits of two sources each, and a benchmark: nothing in it is wrong."""
    pictures = {f"{number}.jpg": picture(number) for number in range(2 * conversations)}
    images = write_zip(folder / "images.zip", pictures)
    write_tsv(folder / "mmmb" / "en.tsv", [question(number, picture(900 + number)) for number in range(3)])
    sources: dict[str, list[dict[str, Any]]] = {"align": [], "sft": []}
    for split, first in (("align", 0), ("sft", conversations)):
        for language, count in (("en", conversations * 2 // 3), ("zh", conversations // 3)):
            path = folder / split / f"{language}.json"
            items = [conversation(number) for number in range(first, first + count)]
            write_json_list(path, items)
            name = f"{split}_{language}"
            source = {"name": name, "format": "llava", "path": str(path), "language": language}
            sources[split].append(source | {"images": str(images)})
            first += count
    path = write_json_list(folder / "sft" / "text.json", [instruction(number) for number in range(10)])
    sources["sft"].append({"name": "text", "format": "alpaca", "path": str(path), "language": "en"})
    return Prepare.model_validate(
        {"shard_megabytes": 1, "max_reject_share": 0.1, "max_image_megapixels": 1.0, "too_long": "cut"}
        | {"benchmarks": [str(folder / "mmmb")], **sources}
    )


MODEL = Model(
    architecture="parrot",
    projector="linear",
    flamingo=Flamingo(
        resampler_n_latents=2, resampler_depth=1, cross_layer_interval=1, learning_rate_factor=1.0
    ),
    vision_feature_layer=-1,
    max_length=512,
)
PER_IMAGE = 5
"""Positions that an image takes with `small_backbones`: 2 × 2 patches and CLS."""


def small_backbones(folder: Path) -> dict[str, Path]:
    """What prepare needs of backbones: configurations, a tokenizer, an image processor; no weights."""
    vision, language = folder / "vision", folder / "language"
    if not folder.exists():
        CLIPVisionConfig(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
            image_size=16, patch_size=8,
        ).save_pretrained(vision)  # fmt: skip
        size = {"height": 16, "width": 16}
        CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=size).save_pretrained(vision)
        Qwen2Config(
            vocab_size=320, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
            num_key_value_heads=1,
        ).save_pretrained(language)  # fmt: skip
        train_tokenizer(["What is it? Number one. Say it."] * 3, 320, language).save_pretrained(language)
    return {"vision": vision, "language": language}
