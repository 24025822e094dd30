"""The two stages of training (paper, section 3.3), for every architecture of `parrot.model`.

Stage one aligns: only what joins the two backbones learns (Parrot: the projector), captions in,
language model and tower frozen. Stage two adds the multilingual mixture of experts, if the
architecture has one, and trains all that joins with the language model on conversations; the tower
stays frozen.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
)

from parrot.config import Align, Model, Moe, Sft, Training
from parrot.data.shards import RecordDataset
from parrot.errors import ParrotError
from parrot.files import atomic_directory, write_json
from parrot.model.registered import ParrotProcessor, VisionLanguageForConditionalGeneration, build
from parrot.provenance import provenance, read_provenance, write_provenance
from parrot.training.conversations import ConversationCollator
from parrot.training.lora import Adapters, four_bits
from parrot.training.trainer import Curve, Part, Run, fit

ALIGNED_FILE = "projector.safetensors"
LAST = 10
"""The loss that a stage reports is the mean of this many last logged ones."""


def align(
    params: Align,
    model_params: Model,
    *,
    seed: int,
    vision: Path,
    language: Path,
    records: Path,
    output: Path,
    curve: Path,
    metrics: Path,
    run: Run,
) -> dict[str, Any]:
    """Stage one: train `model.aligned()` alone and write it to `output`; return the metrics."""
    made_by = provenance(seed=seed, model=model_params, align=params)
    model, processor = assemble(vision, language, model_params, moe=None, seed=seed)
    aligned = model.aligned()
    rate = params.training.learning_rate * model_params.learning_rate_factor
    parts = [Part(list(aligned.parameters()), rate)]
    history = _train(model, processor, parts, params.training, model_params, records, run, seed)
    with atomic_directory(output) as folder:
        save_file(aligned.state_dict(), folder / ALIGNED_FILE, metadata={"format": "pt"})
        write_provenance(folder, made_by)
    return _report(history, curve, metrics)


def sft(
    params: Sft,
    model_params: Model,
    *,
    seed: int,
    vision: Path,
    language: Path,
    aligned: Path,
    records: Path,
    output: Path,
    curve: Path,
    metrics: Path,
    run: Run,
) -> dict[str, Any]:
    """Stage two: train what joins the backbones and the language model (or adapters in it).

    Writes the whole model to `output`, adapters merged, and the adapters alone to `output`/adapter, with
    what made them (`parrot.provenance`), as stage one does.
    """
    made_by = provenance(seed=seed, model=model_params, sft=params) | {"aligned": read_provenance(aligned)}
    assembled = partial(
        assemble, vision, language, model_params, moe=params.moe if params.moe.enabled else None, seed=seed
    )
    quantized = bool(params.lora and params.lora.load_in_4bit)
    model, processor = assembled(four_bits(bf16=params.training.bf16) if quantized else None)
    _load_aligned(model, aligned / ALIGNED_FILE)
    joining = _unique(*model.bridge())
    words = _unique(model.decoder(), model.get_output_embeddings())
    if params.lora:
        joining = _without(joining, words)  # what lies within the decoder learns by its adapters
        adapters = Adapters(model.decoder(), params.lora)
        words = adapters.parameters
    else:
        adapters = None
        words = _without(words, joining)
    parts = [
        Part(joining, params.learning_rate * model_params.learning_rate_factor),
        Part(words, params.language_model_learning_rate),
    ]
    history = _train(model, processor, parts, params.training, model_params, records, run, seed)
    with atomic_directory(output) as folder:
        if adapters:
            adapters.save(folder / "adapter")
            if quantized:
                whole, _ = assembled()
                _load_aligned(whole, aligned / ALIGNED_FILE)
                learns = set(joining)
                learned = {name: p for name, p in model.named_parameters() if p in learns}
                whole.load_state_dict(learned, strict=False)
                model, adapters = whole, adapters.copy_to(whole.decoder())
            adapters.merge()
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        write_provenance(folder, made_by)
    return _report(history, curve, metrics)


def assemble(
    vision: Path,
    language: Path,
    params: Model,
    quantization: BitsAndBytesConfig | None = None,
    *,
    moe: Moe | None,
    seed: int,
) -> tuple[VisionLanguageForConditionalGeneration, ParrotProcessor]:
    """Join the two backbones; what joins them (projector, experts) starts from `seed`.

    Weights are float32, whatever they are published in: small steps are lost in bfloat16. With
    `bf16` a training computes in bfloat16 all the same.
    """
    tokenizer = AutoTokenizer.from_pretrained(language, trust_remote_code=False)
    image_processor = AutoImageProcessor.from_pretrained(vision, backend="pil", trust_remote_code=False)
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    if image_token_id in (None, tokenizer.unk_token_id):
        raise ParrotError(f"{language}: its vocabulary has no <image>; `parrot backbone` makes a model fit")
    torch.manual_seed(seed)
    try:
        model = build(
            params.architecture,
            AutoModel.from_pretrained(vision, dtype=torch.float32, trust_remote_code=False),
            AutoModelForCausalLM.from_pretrained(
                language,
                quantization_config=quantization,
                dtype="auto" if quantization else torch.float32,
                trust_remote_code=False,
            ),
            image_token_id=image_token_id,
            vision_feature_layer=params.vision_feature_layer,
            parrot={
                "projector": params.projector,
                "num_experts": moe.num_experts if moe else 0,
                "moe_intermediate_size": moe.intermediate_size if moe else 0,
                "moe_residual": moe.residual if moe else "token",
                "moe_weight": moe.weight if moe else 1.0,
                "moe_top_k": moe.top_k if moe else None,
            },
            flamingo=params.flamingo.model_dump(exclude={"learning_rate_factor"}),
        )
    except ValueError as error:
        raise ParrotError(f"model: {error}") from None
    processor = ParrotProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        image_seq_length=model.config.image_seq_length,
        background=params.image_background,
    )
    return model, processor


def _train(
    model: VisionLanguageForConditionalGeneration,
    processor: ParrotProcessor,
    parts: Sequence[Part],
    training: Training,
    model_params: Model,
    records: Path,
    run: Run,
    seed: int,
) -> Curve:
    dataset = RecordDataset(records)
    collate = ConversationCollator(processor, model_params.max_length)
    return fit(model, parts, dataset, collate, training, run, seed=seed, lengths=dataset.lengths)


def _load_aligned(model: VisionLanguageForConditionalGeneration, file: Path) -> None:
    wrong = f"{file}: not what stage one makes for this model"
    if not file.is_file():
        raise ParrotError(f"{wrong}: there is no such file")
    try:
        tensors = load_file(file)
    except Exception as error:  # safetensors raises its own error and whatever its header makes Python raise
        raise ParrotError(f"{wrong}: {error}") from None
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            raise ParrotError(f"{wrong}: {name} holds what is no number")
    try:
        model.aligned().load_state_dict(tensors)
    except RuntimeError as error:
        raise ParrotError(f"{wrong}: {error}") from None


def _unique(*modules: nn.Module) -> list[nn.Parameter]:
    """Parameters of all modules, those shared (tied heads) once."""
    return list({id(p): p for module in modules for p in module.parameters()}.values())


def _without(parameters: list[nn.Parameter], others: list[nn.Parameter]) -> list[nn.Parameter]:
    excluded = set(others)
    return [parameter for parameter in parameters if parameter not in excluded]


def _report(history: Curve, curve: Path, metrics: Path) -> dict[str, Any]:
    history.write_csv(curve)
    last = [row["loss"] for row in history.rows[-LAST:]]
    measured: dict[str, Any] = {"steps": int(history.rows[-1]["step"]) if history.rows else 0}
    measured |= {"loss": round(sum(last) / len(last), 4)} if last else {}
    write_json(metrics, measured)
    return measured
