"""Evaluation folders as the stage writes them, with answers made to measure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUNS = ("seeing", "blind")
Hit = Callable[[str, str, int], bool]
"""Language, run and index -> is the answer right?"""


def row(language: str, index: int, hit: Hit) -> dict[str, Any]:
    """Two questions in a row share a picture; two categories take turns."""
    replies = {
        run: {"choice": "B" if hit(language, run, index) else None, "hit": hit(language, run, index)}
        for run in RUNS
    }
    return {
        "language": language,
        "index": index,
        "category": ("colour", "count")[index % 2],
        "answer": "B",
        "cluster": str(index // 2),
        **replies,
    }


def settings(languages: tuple[str, ...] = ("en", "zh"), questions: int = 40) -> dict[str, Any]:
    return {
        "benchmark": {language: {"file": f"mmmb_{language}.tsv", "questions": questions}
                      for language in languages},
        "prompts": {run: {"protocol": "option_likelihood", "version": "1"} for run in RUNS},
    }  # fmt: skip


def write_evaluation(
    folder: Path, hit: Hit, languages: tuple[str, ...] = ("en", "zh"), questions: int = 40
) -> Path:
    folder.mkdir(parents=True)
    tree = settings(languages, questions)
    (folder / "settings.json").write_text(json.dumps(tree), encoding="utf-8")
    rows = [row(language, index, hit) for language in languages for index in range(questions)]
    lines = "".join(json.dumps(line) + "\n" for line in rows)
    (folder / "predictions.jsonl").write_text(lines, encoding="utf-8")
    return folder
