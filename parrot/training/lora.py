"""LoRA: small adapters learn in the language model's place (MultiModal-GPT, arXiv 2305.04790, section 3)."""

from pathlib import Path

from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.lora import LoraModel
from safetensors.torch import save_file
from torch import nn

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
        config = LoraConfig(
            r=params.rank,
            lora_alpha=params.alpha,
            lora_dropout=params.dropout,
            target_modules=params.target_modules,
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

    def merge(self) -> None:
        """Add what they have learned to the decoder's own weights, and take them out."""
        self._tuner.merge_and_unload()


def _names(decoder: nn.Module) -> set[str]:
    return {
        name.rpartition(".")[2] for name, module in decoder.named_modules() if isinstance(module, nn.Linear)
    }
