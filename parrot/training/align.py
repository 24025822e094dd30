"""Stage one (paper, section 3.3): what connects the backbones learns (Parrot: the projector), captions in.

Language model and tower are frozen.
"""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from parrot.config import Align, Model
from parrot.errors import ParrotError
from parrot.model.registered import VisionLanguageForConditionalGeneration
from parrot.provenance import provenance, write_provenance
from parrot.training.arguments import training_arguments
from parrot.training.assembly import assemble, report, train
from parrot.training.distributed import placed_by_first_rank
from parrot.training.trainer import ParameterGroup, TrainingRun

ALIGNED_FILE = "projector.safetensors"


def align(
    align: Align,
    model: Model,
    seed: int,
    *,
    records: Path,
    mixture: Path,
    vision: Path,
    language: Path,
    output: Path,
    curve: Path,
    metrics: Path,
    run: TrainingRun,
) -> dict[str, Any]:
    """Train what connects the backbones and nothing else, and write it to `output`.

    Args:
        records: folder of the prepared records of this stage.
        mixture: folder that says which of them are seen, and in which order.
        vision, language: folders of the backbones.
        output: folder to write: the weights (`ALIGNED_FILE`), and what made them (`parrot.provenance`).
        curve: CSV to write: the loss as it fell.
        metrics: JSON to write: steps and last loss, which are returned as well.
    """
    made_by = provenance(seed=seed, model=model, align=align)
    arguments = training_arguments(align.training, run, seed)
    joined, processor = assemble(vision, language, model, seed, arguments)
    aligned = joined.aligned()
    rate = align.training.learning_rate * model.learning_rate_factor
    history = train(
        joined,
        processor,
        [ParameterGroup(list(aligned.parameters()), rate)],
        align.training,
        seed,
        records=records,
        mixture=mixture,
        max_length=model.max_length,
        run=run,
        arguments=arguments,
    )
    with placed_by_first_rank(output) as folder:
        if folder:
            save_file(aligned.state_dict(), folder / ALIGNED_FILE, metadata={"format": "pt"})
            write_provenance(folder, made_by)
    return report(history, curve=curve, metrics=metrics)


def load_aligned(model: VisionLanguageForConditionalGeneration, file: Path) -> None:
    """Put into `model` what stage one wrote.

    Raises:
        ParrotError: the file is missing, broken, of another model, or holds what is no number.
    """
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
