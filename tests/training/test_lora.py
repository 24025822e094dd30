"""Adapters: nothing at first, then what they learned; saved, loaded by peft and merged alike."""

import copy
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, Qwen2Config, Qwen2ForCausalLM, Qwen2Model

from parrot.config import Lora
from parrot.errors import ParrotError
from parrot.model.registered import build_flamingo
from parrot.training.lora import Adapters

PARAMS = Lora(rank=4, alpha=8, dropout=0.1, target_modules=["q_proj", "v_proj"])


@pytest.fixture
def language_model() -> Qwen2Model:
    torch.manual_seed(0)
    return Qwen2Model(
        Qwen2Config(
            vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2,
        )
    ).eval()  # fmt: skip


@torch.no_grad()
def output(model: nn.Module) -> Tensor:
    hidden: Tensor = model(input_ids=torch.arange(20)[None]).last_hidden_state
    return hidden


@pytest.mark.parametrize("dora", [False, True])
def test_adapters_are_saved_loaded_and_merged_alike(
    language_model: Qwen2Model, tmp_path: Path, dora: bool
) -> None:
    base, before = copy.deepcopy(language_model), output(language_model)
    names = {name for name, _ in language_model.named_parameters()}
    adapters = Adapters(language_model, PARAMS.model_copy(update={"dora": dora}))
    language_model.eval()  # new layers come in training mode, with dropout
    torch.testing.assert_close(output(language_model), before)
    assert len(adapters.parameters) == 2 * 2 * (2 + dora)  # layers, modules, A and B, lengths
    for parameter in adapters.parameters:
        nn.init.normal_(parameter, std=0.3)
    adapted = output(language_model)
    assert not torch.allclose(adapted, before, atol=1e-2)

    adapters.save(tmp_path)
    loaded = PeftModel.from_pretrained(base, tmp_path).eval()
    torch.testing.assert_close(output(loaded), adapted)
    adapters.merge()
    torch.testing.assert_close(output(language_model), adapted, atol=1e-5, rtol=1e-4)
    assert {name for name, _ in language_model.named_parameters()} == names


def test_unknown_modules_are_named(language_model: Qwen2Model) -> None:
    params = PARAMS.model_copy(update={"target_modules": ["to_q"]})
    with pytest.raises(ParrotError, match=r"sft\.lora\.target_modules: .*down_proj, gate_proj, k_proj"):
        Adapters(language_model, params)


@torch.no_grad()
def test_cross_attention_is_adapted_with_the_language_model(
    language_model: Qwen2Model, tmp_path: Path
) -> None:
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=16,
            patch_size=8,
        )
    )  # fmt: skip
    model = build_flamingo(tower, Qwen2ForCausalLM(language_model.config), image_token_id=59).eval()
    for parameter in model.aligned().parameters():  # opens the gates
        nn.init.normal_(parameter, std=0.3)
    base = copy.deepcopy(model)
    inputs = {"input_ids": torch.arange(50, 60)[None], "pixel_values": torch.ones(1, 3, 16, 16)}
    adapters = Adapters(model.decoder(), PARAMS.model_copy(update={"target_modules": ["q_proj", "up_proj"]}))
    model.eval()
    # Two language model layers and the one cross-attention in front of them; A and B.
    assert len(adapters.parameters) == (2 + 1) * 2 * 2
    for parameter in adapters.parameters:
        nn.init.normal_(parameter, std=0.3)
    adapted = model(**inputs).logits
    adapters.save(tmp_path)
    assert not torch.allclose(base(**inputs).logits, adapted, atol=1e-2)
    PeftModel.from_pretrained(base.decoder(), tmp_path)
    torch.testing.assert_close(base.eval()(**inputs).logits, adapted)
    adapters.merge()
    torch.testing.assert_close(model(**inputs).logits, adapted, atol=1e-5, rtol=1e-4)
