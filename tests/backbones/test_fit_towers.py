"""Published vision towers, made fit."""

import shutil
from pathlib import Path

import pytest
import torch
from families import as_bin, publish
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionModel,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from parrot.backbones.fit import fit
from parrot.backbones.fit_language import fit_language
from parrot.backbones.fit_vision import fit_vision
from parrot.errors import ParrotError

PART = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**PART, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
VISION = {**PART, "image_size": 28, "patch_size": 14}


def small_clip() -> CLIPModel:
    return CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION))


def small_siglip() -> SiglipModel:
    return SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION))


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_towers(tmp_path: Path, name: str, whole: bool, pickled: bool) -> None:
    torch.manual_seed(0)
    model = small_clip() if name == "clip" else small_siglip()
    published = model if whole else model.vision_model
    published.save_pretrained(tmp_path / "published")
    size = {"height": 28, "width": 28}
    processor = (
        CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=size)
        if name == "clip"
        else SiglipImageProcessorPil(size=size)
    )
    processor.save_pretrained(tmp_path / "published")
    if pickled:
        as_bin(tmp_path / "published")
    said = fit(str(tmp_path / "published"), None, tmp_path / "fit")
    assert any("its text part left out" in line for line in said) == whole
    tower = AutoModel.from_pretrained(tmp_path / "fit")
    pixels = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        expected = model.vision_model.eval()(pixels).last_hidden_state
        assert torch.equal(tower(pixels).last_hidden_state, expected)


def test_a_tower_with_names_of_old_checkpoints(tmp_path: Path) -> None:
    tower = small_clip().vision_model
    tower.save_pretrained(tmp_path)
    CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(
        tmp_path
    )
    old = {f"vision_model.{key}": value for key, value in load_file(tmp_path / "model.safetensors").items()}
    (tmp_path / "model.safetensors").unlink()
    torch.save(old, tmp_path / "pytorch_model.bin")
    fit(str(tmp_path), None, tmp_path / "fit")
    loaded = CLIPVisionModel.from_pretrained(tmp_path / "fit").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in tower.state_dict().items())


def test_a_tower_in_a_language_models_place_is_refused(tmp_path: Path) -> None:
    small_clip().vision_model.save_pretrained(tmp_path / "clip")
    with pytest.raises(ParrotError, match="is a vision tower, where a language model is needed"):
        fit_language(tmp_path / "clip", tmp_path / "fit")
    publish("qwen2", tmp_path / "language")
    with pytest.raises(ParrotError, match="is a language model, where a vision tower is needed"):
        fit_vision(tmp_path / "language", tmp_path / "fit")
    with pytest.raises(ParrotError, match="its image processor cannot be used"):
        fit_vision(tmp_path / "clip", tmp_path / "fit")
    shutil.rmtree(tmp_path / "clip")
