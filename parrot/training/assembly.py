"""What both stages share: the model joined from its backbones, its training, and what is reported of it."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    TrainingArguments,
)

from parrot.config import Architecture, Model, Moe, Training
from parrot.data.shards import RecordDataset
from parrot.errors import ParrotError
from parrot.files import write_json
from parrot.model.configuration_flamingo import LANGUAGE_MODELS
from parrot.model.registered import ParrotProcessor, VisionLanguageForConditionalGeneration, build
from parrot.training.conversations import ReadableRecords, WatchedCollator
from parrot.training.distributed import frozen_apart, rank, whole_on_each_rank
from parrot.training.evaluator import Evaluator
from parrot.training.held_out import hold_out
from parrot.training.history import LogHistory
from parrot.training.operations import RecordOperations
from parrot.training.packing import samples_apart
from parrot.training.trainer import ParameterGroup, TrainingRun, fit

LAST = 10
"""The loss that a stage reports is the mean of this many last logged ones."""


def assemble(
    vision: Path,
    language: Path,
    model: Model,
    seed: int,
    arguments: TrainingArguments,
    *,
    moe: Moe | None = None,
    quantization: BitsAndBytesConfig | None = None,
) -> tuple[VisionLanguageForConditionalGeneration, ParrotProcessor]:
    """Join the two backbones; what connects them (projector, experts …) starts from `seed`.

    Weights are float32, whatever they are published in: small steps are lost in bfloat16. With
    `bf16` a training computes in bfloat16 all the same. With `quantization` the language model's hidden
    layers are in four bits; all else is float32 as well. With ZeRO-3, while `arguments` of it
    exist, each rank keeps only its share of the language model, in the precision of the training, and the
    whole tower, which is frozen.

    Raises:
        ParrotError: the backbones do not go together, or the tokenizer has no image token.
    """
    tokenizer, image_token_id = _tokenizer(language)
    try:
        with whole_on_each_rank(arguments):
            tower = AutoModel.from_pretrained(vision, dtype=torch.float32, trust_remote_code=False)
        language_model = AutoModelForCausalLM.from_pretrained(
            language,
            quantization_config=quantization,
            dtype=torch.float32,
            trust_remote_code=False,
        )
        torch.manual_seed(seed)  # after loading, which draws numbers with ZeRO-3 only
        joined = build(
            model.architecture, tower, language_model, image_token_id=image_token_id, **options(model, moe)
        )
    except ValueError as error:
        raise ParrotError(f"model: {error}") from None
    return joined, _processor(vision, tokenizer, joined, model)


def processor_of(
    vision: Path, language: Path, joined: VisionLanguageForConditionalGeneration, model: Model
) -> ParrotProcessor:
    """What makes batches for a model that was joined of these backbones, or of their configurations alone."""
    return _processor(vision, _tokenizer(language)[0], joined, model)


def _tokenizer(language: Path) -> tuple[Any, int]:
    tokenizer = AutoTokenizer.from_pretrained(language, trust_remote_code=False)
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    if image_token_id in (None, tokenizer.unk_token_id):
        raise ParrotError(f"{language}: its vocabulary has no <image>; `parrot backbone` makes a model fit")
    return tokenizer, image_token_id


def _processor(
    vision: Path, tokenizer: Any, joined: VisionLanguageForConditionalGeneration, model: Model
) -> ParrotProcessor:
    return ParrotProcessor(
        image_processor=AutoImageProcessor.from_pretrained(vision, backend="pil", trust_remote_code=False),
        tokenizer=tokenizer,
        image_seq_length=joined.config.image_seq_length,
        background=model.image_background,
    )


def options(model: Model, moe: Moe | None) -> dict[str, Any]:
    """Fields of the joined model's config that are parameters here."""
    named: dict[str, Any] = {"vision_feature_layer": model.vision_feature_layer}
    # What only one architecture has is named as in its config.
    named |= model.model_dump(exclude={"architecture", *Architecture.model_fields})
    if moe:
        named["num_experts"] = moe.num_experts
        named |= {f"moe_{name}": value for name, value in moe if name != "num_experts"}
    return named


def train(
    model: VisionLanguageForConditionalGeneration,
    processor: ParrotProcessor,
    groups: Sequence[ParameterGroup],
    training: Training,
    seed: int,
    *,
    records: Path,
    mixture: Path,
    max_length: int,
    run: TrainingRun,
    arguments: TrainingArguments,
) -> LogHistory:
    """Train the parameters of `groups`, none of them the tower's; see `parrot.training.trainer.fit`.

    Raises:
        ParrotError: `packing`, with a language model in which samples of a row would see one another.
    """
    language = model.config.text_config.model_type
    if training.packing and language not in LANGUAGE_MODELS:
        raise ParrotError(
            f"params.yaml: training.packing: samples of a row are known to be kept apart by "
            f"{', '.join(LANGUAGE_MODELS)}, not by '{language}'; set it to false"
        )
    mixed = RecordDataset(records, mixture)
    dataset: Any = ReadableRecords(mixed)
    collate = WatchedCollator(processor, max_length, packing=training.packing)
    trained, lengths, positions, evaluator = dataset, mixed.lengths, mixed.positions, None
    if training.evaluation:
        kept, held = hold_out(mixed.records, training.evaluation, seed)
        trained = Subset(dataset, kept)
        lengths, positions = ([of[sample] for sample in kept] for of in (lengths, positions))
        evaluator = Evaluator(Subset(dataset, held), collate, processor, run.questions, training.batch_size)
    learned = (parameter for group in groups for parameter in group.parameters)
    operations = RecordOperations(model, learned)
    with (
        frozen_apart(model.model, "vision_tower", arguments),
        samples_apart(model.model.language_model) if training.packing else nullcontext(),
    ):
        return fit(
            model, groups, trained, collate, training, run,
            seed=seed, lengths=lengths, positions=positions, arguments=arguments, operations=operations,
            evaluator=evaluator,
        )  # fmt: skip


def report(history: LogHistory, *, curve: Path, metrics: Path) -> dict[str, Any]:
    """Write the losses to `curve`, and to `metrics` what is returned: steps, and the last loss if any."""
    last = [row["loss"] for row in history.rows[-LAST:]]
    measured: dict[str, Any] = {"steps": history.steps}
    measured |= {"loss": round(sum(last) / len(last), 4)} if last else {}
    if rank() == 0:
        history.write_csv(curve)
        write_json(metrics, measured)
    return measured
