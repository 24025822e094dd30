"""The Flamingo-style model: backbones as they were, images read by cross-attention, one form outside."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from flamingo_cases import BATCH, LANGUAGE_MODELS, PROMPTS, SMALL, alone, build, new, together
from model_cases import (
    IMAGE_TOKEN,
    padded,
    pixels,
    tiny_language_model,
    tiny_tower,
)
from transformers import (
    AutoModelForImageTextToText,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from parrot.model.registered import FlamingoForConditionalGeneration


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
@torch.no_grad()
def test_a_new_model_answers_as_its_language_model(name: str) -> None:
    torch.manual_seed(0)
    language_model = LANGUAGE_MODELS[name]().eval()
    inputs = padded(PROMPTS[:1] * 2 + [[7, 8, 9]], "right")
    expected = language_model(**inputs).logits
    model = new(language_model)
    tokens = inputs["attention_mask"].bool()
    assert torch.equal(model(**inputs).logits[tokens], expected[tokens])
    seeing = padded([[IMAGE_TOKEN, *ids] for ids in PROMPTS[:1] * 2 + [[7, 8, 9]]], "right")
    closed = model(**seeing, pixel_values=pixels(3)).logits
    tokens = seeing["attention_mask"].bool()
    assert torch.equal(closed[tokens], language_model(**seeing).logits[tokens])


@torch.no_grad()
def test_backbones_are_taken_over_as_they_are() -> None:
    tower, language_model = tiny_tower(), tiny_language_model()
    expected = tower(pixels(2), output_hidden_states=True)
    for layer in (-1, -2, 0):
        model = new(copy.deepcopy(language_model), tower, vision_feature_layer=layer)
        assert torch.equal(model.model.tower_features(pixels(2)), expected.hidden_states[layer])
    model = new(language_model, tower)
    assert model.model.vision_tower is tower
    assert model.model.language_model is language_model.model
    assert model.lm_head is language_model.lm_head
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert not any(
        layer.alpha_cross_attn or layer.alpha_dense for layer in model.model.gated_cross_attn_layers
    )
    assert model.config.image_seq_length == 1


@torch.no_grad()
def test_siglip_is_read_with_its_pooled_vector_first() -> None:
    tower = SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28,
            patch_size=14,
        )
    )  # fmt: skip
    model = build(tower=tower)
    features = model.model.tower_features(pixels(1))
    assert features.shape == (1, 5, 16)
    assert torch.equal(features[:, 0], tower(pixels(1)).pooler_output)
    assert model(**together("left")).logits.isfinite().all()


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_a_sample_alone_and_in_a_batch(name: str, side: str) -> None:
    torch.manual_seed(0)
    BATCH.check_logits(build(LANGUAGE_MODELS[name]()), side)


@torch.no_grad()
def test_a_token_reads_the_latest_picture_before_it() -> None:
    model = build()
    inputs = alone(2)
    before = model(**inputs).logits[0]
    other = {**inputs, "pixel_values": inputs["pixel_values"].clone()}
    other["pixel_values"][1] += 1  # the second picture, at position 6
    changed = (model(**other).logits[0] - before).abs().amax(-1) > 1e-4
    assert changed.tolist() == [False] * 6 + [True] * 5
    # The first picture is read by its own turn's tokens; by self-attention it reaches the later ones.
    layers = model.model.gated_cross_attn_layers
    for layer in layers[1:]:
        layer.alpha_cross_attn.zero_()
    gates = []
    hook = layers[0].register_forward_pre_hook(lambda _, args, kwargs: gates.append(kwargs), with_kwargs=True)
    model(**inputs)
    hook.remove()
    reads = gates[0]["image_attention_mask"][0, 0].view(11, 3, 4)[..., 0]
    assert reads.int().argmax(-1).tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2]
    assert gates[0]["cross_attention_gate"][0].tolist() == [False] * 2 + [True] * 9


@torch.no_grad()
def test_cross_attention_stands_at_its_interval() -> None:
    model = new(tiny_language_model(num_hidden_layers=3), cross_layer_interval=2)
    assert len(model.model.gated_cross_attn_layers) == 2
    seen: list[int] = []
    for index, layer in enumerate(model.model.gated_cross_attn_layers):
        layer.register_forward_hook(lambda *_, index=index: seen.append(index))
    for index, layer in enumerate(model.model.language_model.layers):
        layer.register_forward_hook(lambda *_, index=index: seen.append(10 + index))
    model(**alone(1))
    assert seen == [0, 10, 11, 1, 12]


@torch.no_grad()
def test_bfloat16() -> None:
    model = build(tiny_language_model().to(torch.bfloat16))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    logits = model(**together("left")).logits
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_save_and_load(tmp_path: Path, tied: bool) -> None:
    model = build(tiny_language_model(tie_word_embeddings=tied), cross_layer_interval=2)
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert isinstance(loaded, FlamingoForConditionalGeneration)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert (loaded.lm_head.weight is loaded.get_input_embeddings().weight) is tied
    assert torch.equal(loaded(**together("left")).logits, model(**together("left")).logits)


@torch.no_grad()
def test_a_copy_has_cross_attention_of_its_own() -> None:
    model = build()
    expected = model(**alone(1)).logits
    copied = copy.deepcopy(model)
    assert torch.equal(copied(**alone(1)).logits, expected)
    for layer in copied.model.gated_cross_attn_layers:
        layer.alpha_cross_attn.zero_()
    assert not torch.allclose(copied(**alone(1)).logits, expected, atol=1e-2)
    assert torch.equal(model(**alone(1)).logits, expected)


def test_a_language_model_serves_one_model_only() -> None:
    language_model = tiny_language_model()
    new(language_model)
    with pytest.raises(ValueError, match="part of another Flamingo-style model; load it anew"):
        new(language_model)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": [[1, IMAGE_TOKEN, 2]], "pixel_values": 2}, "2 images of 1 .* need 2 .* found 1"),
        ({"input_ids": [[1, 2, 3]], "pixel_values": 1}, "found 0"),
        ({"input_ids": [[1, IMAGE_TOKEN, 2]]}, "1 image positions, but there are no pixel_values"),
        ({"pixel_values": 1}, "exactly one of input_ids and inputs_embeds"),
    ],
)
def test_wrong_inputs_are_named(inputs: dict[str, Any], message: str) -> None:
    tensors = {key: torch.tensor(value) for key, value in inputs.items() if key != "pixel_values"}
    if "pixel_values" in inputs:
        tensors["pixel_values"] = pixels(inputs["pixel_values"])
    with pytest.raises(ValueError, match=message):
        build()(**tensors)


@pytest.mark.parametrize(
    ("language_model", "options", "message"),
    [
        (
            lambda: GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=32, n_layer=1, n_head=4)),
            {},
            "text_config: .* a 'gpt2' language model; supported: llama",
        ),
        (
            lambda: Qwen3ForCausalLM(Qwen3Config(**{**SMALL, "hidden_size": 30}, head_dim=8)),
            {},
            "text_config: .* 4 is no divisor of 30",
        ),
        (
            tiny_language_model,
            {"cross_layer_interval": 0},
            "cross_layer_interval: expected 1 or more, found 0",
        ),
        (tiny_language_model, {"vision_feature_layer": 3}, "a tower of 2 layers has no 3"),
    ],
)
def test_wrong_combinations_are_refused_by_name(
    language_model: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        new(language_model(), **options)
