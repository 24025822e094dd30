"""A folder that somebody names: read by our classes, and code inside it never runs."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from model_cases import Build

from parrot.cli import main
from parrot.errors import ParrotError
from parrot.loading import load_model, load_processor
from parrot.model.registered import ParrotForConditionalGeneration, ParrotProcessor

CODE = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
Path({marker!r}).touch()
"""


@pytest.fixture
def folder(build: Build, processor: ParrotProcessor, tmp_path: Path) -> Path:
    build().save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    (tmp_path / "model/theirs.py").write_text(CODE.format(marker=str(tmp_path / "ran")), encoding="utf-8")
    return tmp_path / "model"


def change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8")) | values
    file.write_text(json.dumps(content), encoding="utf-8")


def their_model(folder: Path) -> None:
    change(
        folder / "config.json",
        model_type="theirs",
        auto_map={"AutoConfig": "theirs.Config", "AutoModelForImageTextToText": "theirs.Model"},
    )


def their_processor(folder: Path) -> None:
    auto_map = {"AutoProcessor": "theirs.Processor"}
    change(folder / "processor_config.json", processor_class="TheirProcessor", auto_map=auto_map)
    change(folder / "config.json", model_type="theirs", auto_map={"AutoConfig": "theirs.Config"})


def their_tokenizer(folder: Path) -> None:
    auto_map = {"AutoTokenizer": ["theirs.Tokenizer", None]}
    change(folder / "tokenizer_config.json", tokenizer_class="TheirTokenizer", auto_map=auto_map)


@pytest.mark.parametrize("make", [their_model, their_processor, their_tokenizer])
def test_code_in_a_folder_is_refused_in_a_sentence(
    folder: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question on the terminal"))
    make(folder)
    for command in ("chat", "--prompt=hello"), ("chat", "--prompt=hello", "--json"):
        with pytest.raises(
            SystemExit, match="needs code that lies in that folder, and such code is never run"
        ):
            main([*command, f"--model={folder}"])
    assert not (folder.parent / "ran").exists()


def test_a_package_is_read_by_our_classes(
    folder: Path, build: Build, processor: ParrotProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build()
    for part, auto in (
        (model.config, "AutoConfig"), (model, "AutoModelForImageTextToText"), (processor, "AutoProcessor")
    ):  # fmt: skip
        monkeypatch.setattr(type(part), "_auto_class", auto)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    assert "auto_map" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert type(load_model(folder)) is ParrotForConditionalGeneration
    assert type(load_processor(folder)) is ParrotProcessor


@pytest.mark.parametrize("content", [b"", b"no tensors", pickle.dumps({})], ids=["empty", "text", "pickle"])
def test_broken_weights_are_a_sentence(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ParrotError, match=r"model: the model does not load: .*"):
        load_model(folder)
