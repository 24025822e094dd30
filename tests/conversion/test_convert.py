"""Checkpoints of the authors' layout, made here: to ours and back, whole, in shards, as `.bin`, broken."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoProcessor,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from examples.picture_world.backbones.train_tokenizer import train_tokenizer
from parrot.cli import main
from parrot.conversion import tensors as conversion_tensors
from parrot.conversion.convert import convert, convert_back
from parrot.conversion.layout import TOWER
from parrot.errors import ParrotError
from parrot.model.registered import ParrotForConditionalGeneration, ParrotProcessor, build_parrot

VOCABULARY = 300


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train_tokenizer(
        ["What is red? Что это? 这是什么？"] * 3, VOCABULARY, tmp_path_factory.mktemp("tokens")
    )


def ours(folder: Path, tokenizer: Any, *, tied: bool = False, **options: Any) -> Path:
    """A Parrot of unusual sizes as training writes it."""
    torch.manual_seed(3)
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=24, intermediate_size=40, num_hidden_layers=4, num_attention_heads=3, image_size=28,
            patch_size=7, projection_dim=24,
        )
    )  # fmt: skip
    language_model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer) + 11, hidden_size=40, intermediate_size=72, num_hidden_layers=3,
            num_attention_heads=5, num_key_value_heads=1, tie_word_embeddings=tied,
            rope_parameters={"rope_type": "default", "rope_theta": 50000.0},
        )
    )  # fmt: skip
    model = build_parrot(
        tower,
        language_model,
        image_token_id=tokenizer.image_token_id,
        **{
            "projector": "mlp3x_gelu", "vision_feature_layer": -3, "num_experts": 4,
            "moe_intermediate_size": 20, "moe_residual": "released", "moe_weight": 0.3, **options,
        },
    )  # fmt: skip
    model.save_pretrained(folder)
    image_processor = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=28)
    seq_length = model.config.image_seq_length
    ParrotProcessor(image_processor, tokenizer, image_seq_length=seq_length).save_pretrained(folder)
    return folder


def outputs(folder: Path) -> torch.Tensor:
    model = ParrotForConditionalGeneration.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    ids = [[processor.image_token_id] * model.config.image_seq_length + [5, 6, 7, 8]]
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor(ids), pixel_values=pixels).logits
    return logits


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tied": True, "projector": "linear", "num_experts": 1},
        {"moe_residual": "none"},
        {"num_experts": 0},
        {"moe_residual": "token", "moe_weight": 1.0},
    ],
    ids=["released", "tied", "no-residual", "no-moe", "token"],
)
def test_there_and_back(options: dict[str, Any], tokenizer: Any, tmp_path: Path) -> None:
    source = ours(tmp_path / "ours", tokenizer, **options)
    convert_back(source, tmp_path / "original")
    assert json.loads((tmp_path / "original/config.json").read_text())["model_type"] == "parrot_qwen2"
    convert(tmp_path / "original", tmp_path / "again")
    torch.testing.assert_close(outputs(tmp_path / "again"), outputs(source), atol=0, rtol=0)
    convert_back(tmp_path / "again", tmp_path / "back")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("original", "back"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    first, second = (json.loads((tmp_path / n / "config.json").read_text()) for n in ("original", "back"))
    assert first == second


@pytest.fixture(scope="module")
def original(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    convert_back(ours(folder / "ours", tokenizer), folder / "original")
    return folder / "original"


def variant(original: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    """A copy with other tensors; those that `change` returns are left in its safetensors file."""
    folder.mkdir()
    for file in original.rglob("*"):
        if file.is_file() and file.name != "model.safetensors":
            (folder / file.relative_to(original)).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.relative_to(original)).write_bytes(file.read_bytes())
    kept = change(load_file(original / "model.safetensors"))
    if kept:
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def shards(folder: Path, save: Callable[[dict[str, torch.Tensor], Path], None], suffix: str) -> Any:
    def write(weights: dict[str, torch.Tensor]) -> None:
        names = list(weights)
        stem = "model" if suffix == "safetensors" else "pytorch_model"
        weight_map = {}
        for number, part in enumerate((names[::2], names[1::2]), start=1):
            file = f"{stem}-{number:05}-of-00002.{suffix}"
            save({name: weights[name] for name in part}, folder / file)
            weight_map |= dict.fromkeys(part, file)
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return write


def test_shards_and_bin_files_give_the_same(original: Path, tmp_path: Path) -> None:
    convert(original, tmp_path / "whole")
    expected = outputs(tmp_path / "whole")
    for name, save, suffix in (
        ("sharded", lambda tensors, file: save_file(tensors, file), "safetensors"),
        ("pickled", lambda tensors, file: torch.save(tensors, file), "bin"),
        ("old", lambda tensors, file: torch.save(tensors, file, _use_new_zipfile_serialization=False), "bin"),
    ):
        source = variant(original, tmp_path / name, shards(tmp_path / name, save, suffix))
        convert(source, tmp_path / f"{name}-ours")
        assert torch.equal(outputs(tmp_path / f"{name}-ours"), expected), name


def test_our_shards_load(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(original, tmp_path / "whole")
    monkeypatch.setattr(conversion_tensors.write, "__defaults__", (30_000,))
    convert(original, tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 2
    assert torch.equal(outputs(tmp_path / "shards"), outputs(tmp_path / "whole"))


def test_the_tower_may_be_a_folder_of_its_own(original: Path, tmp_path: Path) -> None:
    convert(original, tmp_path / "whole")
    tower = tmp_path / "tower"
    for prefix in ("", "vision_model."):
        source = tmp_path / f"source-{prefix or 'bare'}"

        def apart(weights: dict[str, torch.Tensor], prefix: str = prefix) -> dict[str, torch.Tensor]:
            tower.mkdir(exist_ok=True)
            own = {k: v for k, v in weights.items() if k.startswith(TOWER)}
            save_file(
                {prefix + k.removeprefix(TOWER): v for k, v in own.items()}, tower / "model.safetensors"
            )
            return {k: v for k, v in weights.items() if k not in own}

        variant(original, source, apart)
        (tower / "config.json").write_bytes((original / "vision_tower/clip-vit/config.json").read_bytes())
        convert(source, tmp_path / f"ours-{prefix}", tower)
        assert torch.equal(outputs(tmp_path / f"ours-{prefix}"), outputs(tmp_path / "whole"))


def test_a_vocabulary_without_a_spare_row_gets_one_and_loses_it_again(original: Path, tmp_path: Path) -> None:
    convert(original, tmp_path / "whole")
    image_token = AutoProcessor.from_pretrained(tmp_path / "whole").image_token_id
    names = ("model.embed_tokens.weight", "lm_head.weight")
    source = variant(
        original,
        tmp_path / "full",
        lambda weights: {k: v[:image_token].clone() if k in names else v for k, v in weights.items()},
    )
    config = json.loads((source / "config.json").read_text()) | {"vocab_size": image_token}
    (source / "config.json").write_text(json.dumps(config))
    convert(source, tmp_path / "ours")
    assert torch.equal(
        outputs(tmp_path / "ours")[..., :image_token], outputs(tmp_path / "whole")[..., :image_token]
    )
    convert_back(tmp_path / "ours", tmp_path / "back")
    assert len(load_file(tmp_path / "back/model.safetensors")["lm_head.weight"]) == image_token


def test_what_does_not_fit_is_named_and_nothing_is_written(original: Path, tmp_path: Path) -> None:
    def broken(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        del weights["model.norm.weight"]
        weights["model.moe_model.gate.weight"] = torch.zeros(9, 40)
        return weights | {"model.extra.weight": torch.zeros(1), "model.rotary_emb.inv_freq": torch.zeros(1)}

    source = variant(original, tmp_path / "broken", broken)
    with pytest.raises(ParrotError) as error:
        convert(source, tmp_path / "ours")
    said = str(error.value)
    assert "missing:\n  model.norm.weight [40]" in said
    assert "model.moe_model.gate.weight: expected [4, 40], found [9, 40]" in said
    assert "unexpected:\n  model.extra.weight" in said
    assert "inv_freq" not in said
    assert not (tmp_path / "ours").exists()


class Evil:
    def __reduce__(self) -> Any:
        return print, ("unpickled",)


def test_nothing_is_unpickled(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = variant(original, tmp_path / "evil", lambda weights: None)
    (source / "pytorch_model.bin").write_bytes(pickle.dumps({"model.norm.weight": Evil()}))
    with pytest.raises(ParrotError, match=r"pytorch_model\.bin: not a file of tensors alone"):
        convert(source, tmp_path / "ours")
    assert "unpickled" not in capsys.readouterr().out


def test_an_index_may_not_point_outside(original: Path, tmp_path: Path) -> None:
    source = variant(original, tmp_path / "outside", lambda weights: None)
    index = {"weight_map": {"model.norm.weight": "../secret.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ParrotError, match="outside the folder"):
        convert(source, tmp_path / "ours")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "llava"}, "model_type is 'llava', expected 'parrot_qwen2'"),
        ({"mm_projector_type": "identity"}, "projector: expected 'linear' or 'mlpNx_gelu'"),
        ({"mm_vision_tower": "openai/clip"}, "name the tower's folder with --vision-tower"),
        ({"mm_vision_select_feature": "patch"}, "expected one of ('cls_patch',), got patch"),
        ({"num_experts": None}, "the field 'num_experts' is missing"),
    ],
)
def test_configs_that_do_not_fit_are_refused(
    change: dict[str, Any], said: str, original: Path, tmp_path: Path
) -> None:
    source = variant(original, tmp_path / "source", lambda weights: weights)
    config = json.loads((source / "config.json").read_text()) | change
    config = {key: value for key, value in config.items() if value is not None}
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(ParrotError) as error:
        convert(source, tmp_path / "ours")
    assert said in str(error.value)


def test_what_the_authors_code_cannot_do_is_not_converted_back(tokenizer: Any, tmp_path: Path) -> None:
    for number, (options, said) in enumerate(
        (
            ({"moe_residual": "token", "moe_weight": 0.5}, "so the weight must be 1"),
            ({"moe_top_k": 2}, "moe_top_k is 2"),
        )
    ):
        source = ours(tmp_path / str(number), tokenizer, **options)
        with pytest.raises(ParrotError, match=said):
            convert_back(source, tmp_path / "original")


def test_the_command(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["convert", str(original), str(tmp_path / "ours")])
    main(["convert", "--to-original", str(tmp_path / "ours"), str(tmp_path / "back")])
    first, second = (load_file(folder / "model.safetensors") for folder in (original, tmp_path / "back"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(SystemExit, match="exists already"):
        main(["convert", str(original), str(tmp_path / "ours")])
    with pytest.raises(SystemExit, match=r"config\.json: missing"):
        main(["convert", str(tmp_path), str(tmp_path / "other")])
