"""What the example publishes is used as any other model is: `parrot backbone` finds nothing to change."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel, AutoModelForCausalLM, AutoTokenizer

from examples.picture_world.backbones.train_language import train_language
from examples.picture_world.backbones.train_vision import train_vision
from examples.picture_world.sections import LanguageModel, Letters, VisionTower, World
from examples.picture_world.world.write_world import write_world
from parrot.backbones.fit import fit
from parrot.config import RatedTraining
from parrot.data.images import decode
from parrot.errors import ParrotError
from parrot.model.chat_format import CHAT_TEMPLATE
from parrot.model.chat_text import encode_texts
from parrot.training.trainer import TrainingRun

TRAINING = RatedTraining(
    max_steps=4, batch_size=8, warmup_steps=0.0, weight_decay=0.0, optimizer="muon", learning_rate=1e-3,
    logging_steps=2, save_steps=2,
)  # fmt: skip
VISION = VisionTower(
    image_size=64, patch_size=16, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
    num_attention_heads=2, training=TRAINING,
)  # fmt: skip
LANGUAGE = LanguageModel(
    grid=4, embedding_learning_rate=1e-3, rope_theta=1e6, vocab_size=400, hidden_size=16,
    intermediate_size=32, num_attention_heads=4, num_key_value_heads=2, training=TRAINING,
    letters=Letters(max_steps=4, save_steps=2, learning_rate=1e-3),
)  # fmt: skip
WORLD = World(
    seed=3, backbone_pictures=60, reading_documents=90, align_captions=1, align_questions=1, sft_pictures=1,
    text_instructions=1, questions_per_category=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "data"
    write_world(WORLD, folder)
    return folder / "backbones"


def train(data: Path, folder: Path) -> dict[str, Any]:
    """Both backbones in `folder`; their metrics."""
    measured: dict[str, Any] = {}
    for name in ("vision", "language"):
        paths = {"output": folder / name, "curve": folder / f"{name}.csv", "metrics": folder / f"{name}.json"}
        run = TrainingRun(name, folder / "checkpoints" / name)
        if name == "vision":
            measured |= train_vision(VISION, 1, data=data, run=run, **paths)
        else:
            measured |= train_language(LANGUAGE, 1, data=data / "reading.jsonl", run=run, **paths)
        trainings = {"vision": 1, "language": 2}[name]
        assert len((folder / f"{name}.csv").read_text().splitlines()) == 1 + 2 * trainings
    return measured


@pytest.fixture(scope="module")
def published(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    measured = train(data, folder)
    assert set(measured) == {"f1_picture", "f1_patches", "reading", "letters"}
    assert "overall" in measured["reading"] and "overall" in measured["letters"]
    return folder


def test_the_same_seed_publishes_the_same_bytes(data: Path, published: Path, tmp_path: Path) -> None:
    train(data, tmp_path)
    for file in published.rglob("*"):
        if file.is_file() and "checkpoints" not in file.parts:
            assert file.read_bytes() == (tmp_path / file.relative_to(published)).read_bytes()


def test_the_tower_is_fit_as_it_is(published: Path, data: Path, tmp_path: Path) -> None:
    assert fit(str(published / "vision"), None, tmp_path / "fit") == ["a vision tower"]
    before, after = (
        load_file(folder / "model.safetensors") for folder in (published / "vision", tmp_path / "fit")
    )
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert (tmp_path / "fit/config.json").read_text() == (published / "vision/config.json").read_text()
    pixels = [
        AutoImageProcessor.from_pretrained(folder, backend="pil")([picture(data)], return_tensors="pt")
        for folder in (published / "vision", tmp_path / "fit")
    ]
    assert torch.equal(pixels[0]["pixel_values"], pixels[1]["pixel_values"])
    assert type(AutoModel.from_pretrained(tmp_path / "fit")).__name__ == "CLIPVisionModel"


def same_weights(before: Path, after: Path) -> bool:
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (before, after))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def picture(data: Path) -> Any:
    with zipfile.ZipFile(data / "images.zip") as archive:
        return decode(archive.read(archive.namelist()[0]))


def test_the_language_model_is_fit_as_it_is(published: Path, tmp_path: Path) -> None:
    said = fit(str(published / "language"), None, tmp_path / "fit")
    assert said == ["a language model", "an answer ends with <|im_end|>"]
    assert same_weights(published / "language", tmp_path / "fit")
    for file in ("config.json", "tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "fit" / file).read_text() == (published / "language" / file).read_text()
    chat = [
        {"role": "user", "content": "<image>\nWhat is this? 这是什么？ ما هذا؟"},
        {"role": "assistant", "content": "a red fish <|im_end|>"},
    ]
    tokenizers = [
        AutoTokenizer.from_pretrained(folder) for folder in (published / "language", tmp_path / "fit")
    ]
    assert {tokenizer.chat_template for tokenizer in tokenizers} == {CHAT_TEMPLATE}
    (ids, labels), (ids_fit, labels_fit) = (encode_texts(tokenizer, [chat])[0] for tokenizer in tokenizers)
    assert ids.tolist() == ids_fit.tolist() and labels.tolist() == labels_fit.tolist()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "fit")
    assert type(model).__name__ == "Qwen2ForCausalLM" and model.dtype == torch.float32


@pytest.mark.parametrize(
    "line", ['{"id": 1}', "[1]", '{"conversations": [{"from": "nobody", "value": ""}]}', "{"]
)
def test_a_broken_document_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "reading.jsonl").write_text(f"{line}\n" * 3)
    with pytest.raises(ParrotError, match=r"reading\.jsonl: line 1: not a reading document"):
        train_with(tmp_path)


def test_too_little_to_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "reading.jsonl").touch()
    with pytest.raises(ParrotError, match=r"too few documents \(0\)"):
        train_with(tmp_path)
    (tmp_path / "reading.jsonl").unlink()
    with pytest.raises(ParrotError, match=r"reading\.jsonl: missing; `parrot data`"):
        train_with(tmp_path)
    assert not (tmp_path / "language").exists()


def train_with(folder: Path) -> None:
    train_language(
        LANGUAGE, 1, data=folder / "reading.jsonl", output=folder / "language", curve=folder / "curve.csv",
        metrics=folder / "metrics.json", run=TrainingRun("language", folder / "checkpoints"),
    )  # fmt: skip
