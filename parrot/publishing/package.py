"""The last stage: a folder that can go to the Hub as it is, proven to load back."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor

import parrot.model.registered  # noqa: F401  (the Auto classes know Parrot)
from parrot.config import Evaluate, Package
from parrot.data.sources.mmmb import Question, read_questions
from parrot.errors import ParrotError
from parrot.files import atomic_directory, write_json, write_text
from parrot.lineage import run_tags
from parrot.publishing import load_back
from parrot.publishing.card import model_card
from parrot.publishing.load_back import answer, load

EXAMPLE_IMAGE = "example.jpg"


def package(
    params: Package,
    evaluate: Evaluate,
    languages: Sequence[str],
    *,
    seed: int,
    model: Path,
    evaluation: Path,
    validation: Path,
    output: Path,
) -> dict[str, Any]:
    """Write weights, processor, remote code, card, lineage and one recorded answer to `output`.

    Raises:
        ParrotError: the folder does not load back in a new process, or answers otherwise there.
    """
    scores = json.loads(evaluation.read_text(encoding="utf-8"))
    lineage = {
        **run_tags(),
        "prepared": json.loads(validation.read_text(encoding="utf-8"))["sha256"],
        "benchmark": evaluate.benchmark,
        "blind": evaluate.blind,
        "seed": seed,
    }
    with atomic_directory(output) as partial:
        architecture = _save_model(model, partial)
        question = next(read_questions(Path(evaluate.benchmark) / evaluate.files[languages[0]]))
        example = _record_example(model, partial, question)
        write_json(partial / "lineage.json", lineage)
        card = model_card(params, languages, scores, lineage, example, architecture)
        write_text(partial / "README.md", card)
        repeated = _answer_elsewhere(partial, example)
        if repeated != example["answer"]:
            raise ParrotError(
                f"{output}: loaded back it answers '{repeated}' to '{example['question']}', "
                f"not '{example['answer']}'"
            )
    return {"answer": example["answer"]}


def _save_model(source: Path, target: Path) -> str:
    """Weights and processor as they are, with the code that reads them beside them; what the model is."""
    model = AutoModelForImageTextToText.from_pretrained(source)
    processor = AutoProcessor.from_pretrained(source)
    type(model.config).register_for_auto_class()
    type(model).register_for_auto_class("AutoModelForImageTextToText")
    type(processor).register_for_auto_class("AutoProcessor")
    model.save_pretrained(target)
    processor.save_pretrained(target)
    shutil.rmtree(target / "__pycache__", ignore_errors=True)
    return str(model.config.summary)


def _record_example(model: Path, folder: Path, question: Question) -> dict[str, str]:
    """Put a picture, a question and the trained model's answer into the package."""
    picture = folder / EXAMPLE_IMAGE
    picture.write_bytes(question.image)
    given = answer(*load(model, remote_code=False), picture, question.question)
    example = {"image": EXAMPLE_IMAGE, "question": question.question, "answer": given}
    write_json(folder / "example.json", example)
    return example


def _answer_elsewhere(folder: Path, example: dict[str, str]) -> str:
    """What the package answers in a new process, with a module cache of its own."""
    with tempfile.TemporaryDirectory() as cache:
        process = subprocess.run(
            [
                sys.executable,
                "-P",
                load_back.__file__,
                folder,
                folder / example["image"],
                example["question"],
            ],
            env=os.environ
            | {"HF_MODULES_CACHE": cache, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
    if process.returncode:
        raise ParrotError(
            f"the package does not load back in a new process:\n{process.stderr.strip()[-2000:]}"
        )
    return str(json.loads(process.stdout.strip().splitlines()[-1])["answer"])
