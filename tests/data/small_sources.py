"""Small upstream files, what becomes of them, and mixtures of given records."""

import base64
import csv
import hashlib
import io
import json
import tempfile
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import PIL.Image
import pyarrow.parquet as pq
from pydantic import BaseModel
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, Qwen2Config

from examples.picture_world.backbones.train_tokenizer import train_tokenizer
from parrot.config import Images, Mix, ParrotArchitecture, Prepare, Source, Speed, Split
from parrot.data.accounting import Account, write_balance
from parrot.data.mix import mix
from parrot.data.prepare import prepare
from parrot.data.records import Record, text_length
from parrot.data.shards import Indexed, RecordDataset, index_table, write_index, write_shard


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


@dataclass
class World:
    """Small data of two splits and what params.yaml would say of them."""

    folder: Path
    sources: dict[str, Source]
    mix: Mix
    languages: list[str] = field(default_factory=lambda: ["en", "zh"])
    prepare: Prepare = Prepare(partition_records=8, max_reject_share=0.1)  # noqa: RUF009 (it is frozen)
    speed: Speed = Speed(workers=0, inference_batch_size=1, inference_processes=1)  # noqa: RUF009
    images: Images = Images(max_megapixels=1.0, min_pixels=8, max_pixels=2000)  # noqa: RUF009

    def prepared(self, split: Split) -> Path:
        return self.folder / "prepared" / split

    def mixture(self, split: Split) -> Path:
        return self.folder / "mixtures" / split

    def prepare_source(self, name: str) -> dict[str, Any]:
        return prepare(
            self.languages,
            self.images,
            self.prepare,
            self.sources,
            self.speed,
            source=name,
            output=self.prepared(self.sources[name].split) / name,
            metrics=self.folder / "metrics" / f"{name}.json",
            work=Path(tempfile.mkdtemp(dir=self.folder)),
        )

    def mix_split(
        self, split: Split = "align", seed: int = 1, max_length: int = 512, work: Path | None = None
    ) -> dict[str, Any]:
        return mix(
            seed,
            self.mix,
            MODEL.model_copy(update={"max_length": max_length}),
            self.images,
            self.speed,
            split=split,
            prepared=self.prepared(split),
            **small_backbones(self.folder / "backbones"),
            output=self.mixture(split),
            metrics=self.folder / "metrics" / f"{split}.json",
            work=work or Path(tempfile.mkdtemp(dir=self.folder)),
        )

    def run(self, split: Split = "align", seed: int = 1, max_length: int = 512) -> dict[str, Any]:
        """Prepare the split's sources and mix them; the metrics of the mixture."""
        for name in self.mix.split(split):
            self.prepare_source(name)
        return self.mix_split(split, seed, max_length)

    def dataset(self, split: Split = "align") -> RecordDataset:
        return RecordDataset(self.prepared(split), self.mixture(split))

    def rejects(self, split: Split = "align") -> list[dict[str, str]]:
        """Of the mixture."""
        rows: list[dict[str, str]] = pq.read_table(self.mixture(split) / "rejects.parquet").to_pylist()
        return rows

    def only(
        self,
        items: list[Any],
        images: dict[str, bytes] | None = None,
        mixed: dict[str, Any] | None = None,
        **source: Any,
    ) -> "World":
        """A world whose split align holds these items alone: Alpaca's, or LLaVA's with `images`."""
        path = str(write_json_list(self.folder / "only.json", items))
        pictures = path if images is None else str(write_zip(self.folder / "only.zip", images))
        form = "alpaca" if images is None else "llava"
        only = {"split": "align", "format": form, "path": path, "images": pictures, "language": "en"} | source
        others = {name: other for name, other in self.sources.items() if other.split == "sft"}
        return replace(
            self,
            sources={"only": Source(**only), **others},
            mix=changed(self.mix, align={"only": mixed or 1.0}),
        )


Part = TypeVar("Part", bound=BaseModel)


def changed(section: Part, **values: Any) -> Part:
    return section.model_validate(section.model_dump() | values)


def digests(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256, of all files below."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def small_world(folder: Path, *, conversations: int = 30) -> World:
    """Two splits and a benchmark: nothing in it is wrong."""
    pictures = {f"{number}.jpg": picture(number) for number in range(2 * conversations)}
    images = write_zip(folder / "images.zip", pictures)
    write_tsv(folder / "mmmb" / "en.tsv", [question(number, picture(900 + number)) for number in range(3)])
    sources: dict[str, dict[str, Any]] = {}
    for name, split, first in (("talk", "align", 0), ("chat", "sft", conversations)):
        for language, count in (("en", conversations * 2 // 3), ("zh", conversations // 3)):
            items = [conversation(number) for number in range(first, first + count)]
            write_json_list(folder / name / f"{language}.json", items)
            first += count
        llava = {"split": split, "format": "llava", "path": str(folder / name), "files": "{language}.json"}
        sources[name] = llava | {"images": str(images)}
    path = str(write_json_list(folder / "text.json", [instruction(number) for number in range(10)]))
    sources["text"] = {"split": "sft", "format": "alpaca", "path": path, "images": path, "language": "en"}
    settings = {
        "too_long": "cut",
        "max_reject_share": 0.1,
        "max_contaminated": 1,
        "benchmarks": str(folder / "mmmb"),
    }
    return World(
        folder,
        {name: Source(**source) for name, source in sources.items()},
        Mix.model_validate(settings | {"align": {"talk": 1.0}, "sft": {"chat": 1.0, "text": 1.0}}),
    )


def write_mixture(folder: Path, records: list[Record], copies: int = 1) -> tuple[Path, Path]:
    """The folders `prepared` and `mixture` in `folder`, in which are these records, in this order."""
    prepared, mixture = folder / "prepared", folder / "mixture"
    shard = f"{records[0].source}/part-00000.parquet"
    (prepared / shard).parent.mkdir(parents=True)
    mixture.mkdir(parents=True)
    write_shard(prepared / shard, records)
    rows = [
        Indexed(
            shard, row, item.id, item.source, item.language, text_length(item.messages), positions=1,
            copies=copies, turns=len(item.messages),
        )
        for row, item in enumerate(records)
    ]  # fmt: skip
    write_index(mixture, [index_table(rows)])
    write_balance(mixture, {records[0].source: Account(len(records), len(records), 0, 0, 0, 0)})
    return prepared, mixture


MODEL = ParrotArchitecture(architecture="parrot", projector="linear", vision_feature_layer=-1, max_length=512)
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
