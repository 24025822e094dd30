"""Stage two with adapters, over whole weights and over four bits."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_stages import LORA, MODELS, TRAINING, Train
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TrainingArguments

from parrot.config import Lora
from parrot.errors import ParrotError
from parrot.loading import load_model
from parrot.training.align import ALIGNED_FILE
from parrot.training.assembly import assemble
from parrot.training.run_progress import RunProgress

FOUR_BITS = LORA.model_copy(update={"load_in_4bit": True})
DORA = LORA.model_copy(update={"dora": True})

needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


@pytest.fixture
def no_gpu_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes can do without one, slowly."""
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    monkeypatch.setattr("parrot.training.sft.four_bits", lambda bf16: config)


@pytest.mark.usefixtures("no_gpu_needed")
@pytest.mark.parametrize("lora", [LORA, DORA, pytest.param(FOUR_BITS, marks=needs_bitsandbytes)])
def test_a_killed_run_with_adapters_goes_on_exactly(
    train: Train, lora: Lora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINING, "save_steps", 1)
    aligned = train("align", "parrot")
    lora = lora.model_copy(update={"dropout": 0.2})

    def weights() -> dict[str, bytes]:
        folder = train("sft", "parrot", lora, aligned)
        return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}

    whole = weights()
    save = RunProgress.on_save

    def killed(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        save(self, args, state, control, **kwargs)
        if state.global_step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunProgress, "on_save", killed)
        weights()
    assert weights() == whole
    assert whole.keys() == {"model.safetensors", "adapter_model.safetensors"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_four_bits_need_a_gpu(train: Train) -> None:
    with pytest.raises(ParrotError, match=r"sft\.lora\.load_in_4bit: needs a GPU and there is none"):
        train("sft", "parrot", FOUR_BITS)


@needs_bitsandbytes
def test_what_is_not_in_four_bits_is_float32(inputs: dict[str, Path], tmp_path: Path) -> None:
    published = shutil.copytree(inputs["language"], tmp_path / "language")
    AutoModelForCausalLM.from_pretrained(published, dtype=torch.bfloat16).save_pretrained(published)
    joined, _ = assemble(
        inputs["vision"], published, MODELS["parrot"], 1, TrainingArguments(str(tmp_path), use_cpu=True),
        quantization=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32),
    )  # fmt: skip
    assert {parameter.dtype for parameter in joined.parameters()} == {torch.float32, torch.uint8}


@needs_bitsandbytes
@pytest.mark.usefixtures("no_gpu_needed")
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("architecture", MODELS)
def test_adapters_learned_over_four_bits_are_merged_into_whole_weights(
    train: Train, inputs: dict[str, Path], architecture: str, dora: bool
) -> None:
    aligned = train("align", architecture)
    output = train("sft", architecture, FOUR_BITS.model_copy(update={"dora": dora}), aligned)
    after, before = (
        load_file(output / "model.safetensors"),
        load_file(inputs["language"] / "model.safetensors"),
    )
    assert not any("quant" in name or "lora" in name for name in after)
    for name, tensor in before.items():
        ours = after[name.replace("model.", "model.language_model.", 1)]
        adapted = name.split(".")[-2] in LORA.target_modules and name.endswith("weight")
        assert torch.equal(ours, tensor) != adapted, name
        torch.testing.assert_close(ours, tensor, atol=0.05, rtol=0)
    prefix = "model.multi_modal_projector." if architecture == "parrot" else "model."
    for name, tensor in load_file(aligned / ALIGNED_FILE).items():
        within = name.startswith("gated_cross_attn_layers")  # frozen, but for its adapters
        learns = name.split(".")[-2] in LORA.target_modules if within else True
        assert torch.equal(after[prefix + name], tensor) != learns, name
    load_model(output)
