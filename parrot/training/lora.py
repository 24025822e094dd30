"""LoRA: small adapters learn in the language model's place (MultiModal-GPT, arXiv 2305.04790, section 3).

QLoRA (arXiv 2305.14314): meanwhile that is held in four bits. DoRA (arXiv 2402.09353) is a form of adapter.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraModel
from safetensors.torch import save_file
from torch import nn
from transformers import BitsAndBytesConfig

from parrot.config import Lora
from parrot.errors import ParrotError

ADAPTER_FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."
"""What peft puts before the names of an adapter's tensors."""


class Adapters:
    """Adapters in a model's decoder (`decoder()`), which is changed in place and otherwise frozen."""

    def __init__(self, decoder: nn.Module, params: Lora) -> None:
        """Add them; they change nothing until they have learned something.

        Raises:
            ParrotError: the decoder has no modules of these names.
        """
        self._params = params
        config = LoraConfig(
            r=params.rank,
            lora_alpha=params.alpha,
            lora_dropout=params.dropout,
            target_modules=params.target_modules,
            use_dora=params.dora,
        )
        try:
            self._tuner = LoraModel(decoder, config, "default")
        except ValueError as error:
            names = ", ".join(sorted(_names(decoder)))
            raise ParrotError(f"params.yaml: sft.lora.target_modules: {error}; there are {names}") from None
        self.parameters = [parameter for name, parameter in decoder.named_parameters() if "lora_" in name]

    def save(self, folder: Path) -> None:
        """Write the adapters in peft's form, for `PeftModel.from_pretrained(decoder, folder)`."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = get_peft_model_state_dict(self._tuner)
        save_file(
            {_PREFIX + name.removeprefix("model."): tensor.contiguous() for name, tensor in tensors.items()},
            folder / ADAPTER_FILE,
            metadata={"format": "pt"},
        )
        self._tuner.peft_config["default"].save_pretrained(str(folder))

    def copy_to(self, decoder: nn.Module) -> "Adapters":
        """The same adapters in another decoder, such as one that is not quantized."""
        copied = Adapters(decoder, self._params)
        set_peft_model_state_dict(copied._tuner, get_peft_model_state_dict(self._tuner))
        return copied

    def merge(self) -> None:
        """Add what they have learned to the decoder's own weights, and take them out."""
        self._tuner.merge_and_unload()


def four_bits(*, bf16: bool) -> BitsAndBytesConfig:
    """How a language model is held in four bits: NF4, its constants quantized as well.

    Raises:
        ParrotError: there is no GPU, or no bitsandbytes.
    """
    if not torch.cuda.is_available():
        raise ParrotError(
            "params.yaml: sft.lora.load_in_4bit: needs a GPU and there is none; set it to false"
        )
    if find_spec("bitsandbytes") is None:
        raise ParrotError(
            "params.yaml: sft.lora.load_in_4bit: needs bitsandbytes; `pip install bitsandbytes`, "
            "or set it to false"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float32,
    )


def _names(decoder: nn.Module) -> set[str]:
    return {
        name.rpartition(".")[2] for name, module in decoder.named_modules() if isinstance(module, nn.Linear)
    }
