"""The last stage: a folder that can go to the Hub as it is, proven to load back."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import torch
from huggingface_hub.constants import EVAL_RESULTS_FOLDER

from parrot.config import Backbones, Evaluate, HubModel, Package, Source, Split
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion, read_questions
from parrot.files import atomic_directory, write_json, write_text
from parrot.lineage import dvc_hashes, run_tags
from parrot.loading import load_model, load_processor
from parrot.pipeline.graph import stage_address
from parrot.provenance import read_provenance
from parrot.publishing import load_back
from parrot.publishing.card import EXAMPLE_IMAGE, model_card
from parrot.publishing.card_facts import CardFacts, ModelFacts
from parrot.publishing.card_metadata import LICENSE, eval_results
from parrot.publishing.load_back import answers

LINEAGE = "lineage.json"


def package(
    package: Package,
    evaluate: Evaluate,
    backbones: Backbones,
    hub: Mapping[str, HubModel],
    sources: Mapping[str, Source],
    languages: Sequence[str],
    *,
    model: Path,
    evaluation: Path,
    mixtures: Path,
    trainings: Path,
    validated: Path,
    output: Path,
) -> dict[str, Any]:
    """A folder that can go to the Hub as it is, proven to load back.

    Args:
        model: folder of the model, as `sft` writes it.
        evaluation: JSON that `evaluate` wrote as metrics.
        mixtures: folder of the JSON files that `mix` wrote as metrics, one a split.
        trainings: folder of the JSON files that `align` and `sft` wrote as metrics.
        validated: folder of the stamps that `validate` wrote, one a split.
        output: folder to write: weights, processor, code, card, licence, lineage and a recorded answer.

    Raises:
        ParrotError: the folder does not load back in a new process, or answers otherwise there: one
            question in each language, alone and all in one batch.
    """
    text = _license(package)
    questions = {language: _questions(evaluate, language, len(languages)) for language in languages}
    first = questions[languages[0]][0]
    asked = [some[place % len(some)] for place, some in enumerate(questions.values())]
    trained = read_provenance(model)
    with atomic_directory(output) as partial:
        facts = _save_model(model, partial)
        shutil.copyfile(text, partial / LICENSE)
        given = _prove(asked, model, partial)
        (partial / EXAMPLE_IMAGE).write_bytes(first.image)
        example = {"image": EXAMPLE_IMAGE, "question": first.question, "answer": given[0]}
        write_json(partial / "example.json", example)
        lineage = {
            "trained": trained,
            "packaged": run_tags(),
            "inputs": dvc_hashes(stage_address() or "package", "deps"),
            "validated": _of_splits(validated),
            "benchmark": evaluate.benchmark,
            "blind": evaluate.blind,
        }
        write_json(partial / LINEAGE, lineage)
        card = CardFacts(
            package,
            evaluate,
            backbones,
            hub,
            sources,
            languages,
            facts,
            scores=_read(evaluation),
            mixtures=_of_splits(mixtures),
            trainings=_of_splits(trainings),
            trained=trained,
            example=example,
            questions=[some[0].question for some in questions.values() if some[0].image == first.image],
        )
        write_text(partial / "README.md", model_card(card, output))
        for name, content in eval_results(card).items():
            write_text(partial / EVAL_RESULTS_FOLDER / name, content)
    return {"answer": example["answer"]}


def _of_splits(folder: Path) -> dict[str, dict[str, Any]]:
    return {split: _read(folder / f"{split}.json") for split in get_args(Split)}


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _questions(evaluate: Evaluate, language: str, count: int) -> list[MultipleChoiceQuestion]:
    """The first ones of a language."""
    file = Path(evaluate.benchmark) / evaluate.files[language]
    if not (found := list(islice(read_questions(file), count))):
        raise ParrotError(f"{file}: holds no question; replace it by the published file")
    return found


def _license(package: Package) -> Path:
    file = Path(package.license_file)
    if not file.is_file():
        raise ParrotError(
            f"params.yaml: package.license_file: '{file}' is no file; name one with the text of "
            f"{package.license}"
        )
    return file


def _save_model(source: Path, target: Path) -> ModelFacts:
    """Weights and processor as they are, with the code that reads them beside them; what the model is."""
    model, processor = load_model(source), load_processor(source)
    type(model.config).register_for_auto_class()
    type(model).register_for_auto_class("AutoModelForImageTextToText")
    type(processor).register_for_auto_class("AutoProcessor")
    model.save_pretrained(target)
    processor.save_pretrained(target)
    shutil.rmtree(target / "__pycache__", ignore_errors=True)
    parts = dict(model.model.named_children())
    if model.lm_head.weight is not model.get_input_embeddings().weight:
        parts["lm_head"] = model.lm_head
    return ModelFacts(
        model.config.summary,
        {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()},
        model.config.vision_config.image_size,
        model.config.image_seq_length,
        getattr(model.config.text_config, "max_position_embeddings", None),
    )


def _prove(questions: Sequence[MultipleChoiceQuestion], source: Path, folder: Path) -> list[str]:
    """The answers of the trained model, which the package has to give, too: one by one and in one batch.

    Raises:
        ParrotError: it gives others, or none.
    """
    with tempfile.TemporaryDirectory() as place:
        asked = []
        for number, question in enumerate(questions):
            file = Path(place) / f"{number}.jpg"
            file.write_bytes(question.image)
            asked.append((str(file), question.question))
        model, processor = load_model(source, dtype=torch.float32), load_processor(source)
        given = [answers(model, processor, [one])[0] for one in asked]
        for how, repeated in _answers_elsewhere(folder, asked, Path(place)).items():
            for question, expected, found in zip(questions, given, repeated, strict=True):
                if found != expected:
                    raise ParrotError(
                        f"loaded back and asked {how}, the package answers '{found}' to "
                        f"'{question.question}', not '{expected}'"
                    )
    return given


def _answers_elsewhere(
    folder: Path, asked: Sequence[tuple[str, str]], place: Path
) -> Mapping[str, Sequence[str]]:
    """What the package answers in a new process, with a module cache of its own: "alone" and "together"."""
    process = subprocess.run(
        [sys.executable, "-P", load_back.__file__, folder, json.dumps(asked)],
        env=os.environ
        | {"HF_MODULES_CACHE": str(place / "modules"), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise ParrotError(
            f"the package does not load back in a new process:\n{process.stderr.strip()[-2000:]}"
        )
    found: dict[str, list[str]] = json.loads(process.stdout.strip().splitlines()[-1])
    return found
