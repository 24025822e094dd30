"""Stage two (paper, section 3.3): what connects the backbones and the language model learn, on conversations.

Parrot's multilingual mixture of experts comes with this stage. The tower stays frozen.
"""

from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from parrot.config import Lora, Model, Sft
from parrot.errors import ParrotError
from parrot.model.registered import VisionLanguageForConditionalGeneration
from parrot.provenance import provenance, read_provenance, write_provenance
from parrot.training.align import ALIGNED_FILE, load_aligned
from parrot.training.arguments import training_arguments
from parrot.training.assembly import assemble, report, train
from parrot.training.distributed import placed_by_first_rank
from parrot.training.lora import Adapters, four_bits
from parrot.training.trainer import ParameterGroup, TrainingRun


def sft(
    sft: Sft,
    model: Model,
    seed: int,
    *,
    records: Path,
    mixture: Path,
    vision: Path,
    language: Path,
    aligned: Path,
    output: Path,
    curve: Path,
    metrics: Path,
    run: TrainingRun,
) -> dict[str, Any]:
    """Train what connects the backbones and the language model (or adapters in it).

    Args:
        records: folder of the prepared records of this stage.
        mixture: folder that says which of them are seen, and in which order.
        vision, language: folders of the backbones.
        aligned: folder that stage one wrote.
        output: folder to write: the whole model, adapters merged, its processor, what made them
            (`parrot.provenance`), and in `adapter` the adapters alone.
        curve: CSV to write: the loss as it fell.
        metrics: JSON to write: steps and last loss, which are returned as well.
    """
    made_by = provenance(seed=seed, model=model, sft=sft) | {"aligned": read_provenance(aligned)}
    arguments = training_arguments(sft.training, run, seed)
    assembled = partial(assemble, vision, language, model, seed, arguments, moe=sft.moe)
    quantized = bool(sft.lora and sft.lora.load_in_4bit)
    if quantized and is_deepspeed_zero3_enabled():
        raise ParrotError(
            "params.yaml: sft.lora.load_in_4bit: not with ZeRO-3; take zero2.json, or set it to false"
        )
    joined, processor = assembled(quantization=four_bits(bf16=sft.training.bf16) if quantized else None)
    load_aligned(joined, aligned / ALIGNED_FILE)
    connector, words, adapters = learners(joined, sft.lora)
    history = train(
        joined,
        processor,
        [
            ParameterGroup(connector, sft.learning_rate * model.learning_rate_factor),
            ParameterGroup(words, sft.language_model_learning_rate),
        ],
        sft.training,
        seed,
        records=records,
        mixture=mixture,
        max_length=model.max_length,
        run=run,
        arguments=arguments,
    )
    with placed_by_first_rank(output) as folder:
        if folder:
            if adapters:
                adapters.save(folder / "adapter")
                if quantized:
                    whole, _ = assembled()
                    load_aligned(whole, aligned / ALIGNED_FILE)
                    learns = set(connector)
                    learned = {name: p for name, p in joined.named_parameters() if p in learns}
                    whole.load_state_dict(learned, strict=False)
                    joined, adapters = whole, adapters.copy_to(whole.decoder())
                adapters.merge()
            joined.save_pretrained(folder)
            processor.save_pretrained(folder)
            write_provenance(folder, made_by)
    return report(history, curve=curve, metrics=metrics)


def learners(
    joined: VisionLanguageForConditionalGeneration, lora: Lora | None
) -> tuple[list[nn.Parameter], list[nn.Parameter], Adapters | None]:
    """What learns: parameters of what connects the backbones, then of the language model, or of adapters that
    this puts into it."""
    connector = _unique(*joined.connector())
    words = _unique(joined.decoder(), joined.get_output_embeddings())
    if not lora:
        return connector, _without(words, connector), None
    connector = _without(connector, words)  # what lies within the decoder learns by its adapters
    adapters = Adapters(joined.decoder(), lora)
    return connector, adapters.parameters, adapters


def _unique(*modules: nn.Module) -> list[nn.Parameter]:
    """Parameters of all modules, those shared (tied heads) once."""
    return list({id(p): p for module in modules for p in module.parameters()}.values())


def _without(parameters: list[nn.Parameter], others: list[nn.Parameter]) -> list[nn.Parameter]:
    excluded = set(others)
    return [parameter for parameter in parameters if parameter not in excluded]
