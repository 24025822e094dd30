"""Evaluation folders as the stage writes them, of models that answer as a test says."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

LANGUAGES = ("en", "zh", "tr")
Hit = Callable[[str, int], bool]
"""Language and index of a question -> is the answer right?"""


def write_evaluation(
    folder: Path,
    hit: Hit,
    *,
    languages: tuple[str, ...] = LANGUAGES,
    questions: int = 300,
    weights: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """A question is about the same picture in all languages, and each about another one."""
    folder.mkdir(parents=True)
    tree = {
        "benchmark": {name: {"file": f"mmmb_{name}.tsv", "questions": questions} for name in languages},
        "prompts": {"seeing": {"protocol": "option_likelihood", "version": "1"}},
        **(settings or {}),
    }
    (folder / "settings.json").write_text(json.dumps(tree))
    rows = [
        {
            "language": language,
            "index": index,
            "category": ("colour", "count")[index % 2],
            "answer": "B",
            "cluster": str(index),
            "seeing": {"choice": "B" if hit(language, index) else "A", "hit": hit(language, index)},
        }
        for language in languages
        for index in range(questions)
    ]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made_by = {"commit": "c" * 40, "model": {"model.safetensors": weights}} if weights else {}
    (folder / "provenance.json").write_text(json.dumps(made_by))
    return folder


def right_in(share: float, seed: int, changes: Mapping[str, float] | None = None) -> Hit:
    """Right where a number drawn for the question stays below the share: models differ where their shares do.

    Args:
        seed: of a tenth of the questions, in which models of other seeds differ at random.
        changes: language -> its share, where it is another one.
    """
    shares = dict.fromkeys(LANGUAGES, share) | dict(changes or {})
    hard = np.random.default_rng(0).random(10_000)
    own = np.random.default_rng(seed)
    luck = {language: own.random((2, 10_000)) for language in (*LANGUAGES, "ar")}

    def hit(language: str, index: int) -> bool:
        which, deviate = luck[language][:, index]
        return bool((deviate if which < 0.1 else hard[index]) < shares[language])

    return hit
