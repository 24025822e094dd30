"""Any language model and tower of transformers, and which are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from model_cases import IMAGE_TOKEN, PROMPTS, Build, alone, tiny_language_model, tiny_tower, together
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    CLIPConfig,
    CLIPModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from parrot.model.registered import ParrotConfig, build_parrot


def test_backbones_are_taken_over_not_copied() -> None:
    tower, language_model = tiny_tower(), tiny_language_model()
    model = build_parrot(tower, language_model, image_token_id=IMAGE_TOKEN)
    assert model.model.vision_tower is tower
    assert model.model.language_model is language_model.model
    assert model.lm_head is language_model.lm_head
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert model.config.image_seq_length == 5


def test_saved_config_holds_no_path(tmp_path: Path) -> None:
    tiny_tower().save_pretrained(tmp_path / "tower")
    tiny_language_model().save_pretrained(tmp_path / "language")
    model = build_parrot(
        AutoModel.from_pretrained(tmp_path / "tower"),
        AutoModelForCausalLM.from_pretrained(tmp_path / "language"),
        image_token_id=IMAGE_TOKEN,
    )
    model.save_pretrained(tmp_path / "parrot")
    assert str(tmp_path) not in (tmp_path / "parrot/config.json").read_text()


def test_a_language_model_that_a_trainer_saved_without_its_cache_gets_it_back(tmp_path: Path) -> None:
    tiny_language_model(use_cache=False).save_pretrained(tmp_path / "language")
    language_model = AutoModelForCausalLM.from_pretrained(tmp_path / "language")
    build_parrot(tiny_tower(), language_model, image_token_id=IMAGE_TOKEN).save_pretrained(
        tmp_path / "parrot"
    )
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "parrot")
    assert loaded.config.text_config.use_cache and loaded.generation_config.use_cache


SHAPE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}
NO_END = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
BACKBONES: dict[str, Any] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, **NO_END, intermediate_size=48)),
    "qwen3": lambda: Qwen3ForCausalLM(
        Qwen3Config(**SHAPE, **NO_END, intermediate_size=48, num_key_value_heads=2, head_dim=8)
    ),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SHAPE, **NO_END, intermediate_size=48, num_key_value_heads=2, head_dim=8)
    ),
    # Absolute positions: left padding must not move them.
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2, **NO_END
        )
    ),
}


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_any_language_model(build: Build, tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    model = build(language_model=BACKBONES[name]())
    inputs = together("left")
    logits = model(**inputs).logits
    for index in range(len(PROMPTS)):
        mask = inputs["attention_mask"][index].bool()
        torch.testing.assert_close(logits[index][mask], model(**alone(index)).logits[0], atol=5e-5, rtol=1e-3)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(**inputs).logits, logits)
    generated = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert generated.shape == (4, inputs["input_ids"].shape[1] + 3)


def siglip(**options: Any) -> PreTrainedModel:
    return SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            image_size=28, patch_size=14, **options,
        )
    )  # fmt: skip


@torch.no_grad()
def test_siglip_has_its_pooling_head_instead_of_cls(build: Build, tmp_path: Path) -> None:
    model = build(tower=siglip())
    inputs = together("right")
    logits = model(**inputs).logits
    for index in range(len(PROMPTS)):
        mask = inputs["attention_mask"][index].bool()
        torch.testing.assert_close(logits[index][mask], model(**alone(index)).logits[0], atol=2e-5, rtol=1e-4)
    pooled = model.model.vision_tower(inputs["pixel_values"]).pooler_output
    features = model.get_image_features(inputs["pixel_values"])
    torch.testing.assert_close(features[:, 0], model.model.multi_modal_projector(pooled))
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(**inputs).logits, logits)


def clip_with_text() -> PreTrainedModel:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return CLIPModel(
        CLIPConfig(text_config={**small, "vocab_size": 50}, vision_config={**small, "image_size": 28})
    )


@pytest.mark.parametrize(
    ("tower", "language_model", "options", "message"),
    [
        (
            lambda: siglip(vision_use_head=False),
            tiny_language_model,
            {},
            "vision_use_head is false, but what SigLIP.s pooling head",
        ),
        (clip_with_text, tiny_language_model, {}, "'clip' tower|expected CLIPVisionModel"),
        (
            tiny_tower,
            lambda: Qwen2Model(Qwen2Config(**SHAPE)),
            {},
            "Qwen2Model has no language modeling head",
        ),
        (
            tiny_tower,
            lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, intermediate_size=48, num_key_value_heads=2)),
            {},
            "Gemma2ForCausalLM .*final_logit_softcapping",
        ),
        (tiny_tower, tiny_language_model, {"image_token_id": 300}, "outside the 300 embeddings"),
        (tiny_tower, tiny_language_model, {"projector": "mlp2x"}, "projector: expected 'linear' or"),
        (
            tiny_tower,
            tiny_language_model,
            {"vision_feature_layer": -4},
            "a tower of 2 layers has no -4",
        ),
        (tiny_tower, tiny_language_model, {"num_experts": 2, "moe_top_k": 3}, "moe_top_k: expected 1…2"),
        (tiny_tower, tiny_language_model, {"num_experts": -1}, "num_experts: expected 0 or more"),
    ],
)
def test_wrong_combinations_are_refused_by_name(
    tower: Any, language_model: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_parrot(tower(), language_model(), **{"image_token_id": IMAGE_TOKEN, **options})


def test_unknown_residual_is_refused() -> None:
    with pytest.raises(Exception, match="moe_residual"):
        ParrotConfig(moe_residual="paper")  # type: ignore[arg-type]
