"""The model card: what the model is, how well it answers, and what it was made of."""

import html
from collections.abc import Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from parrot.config import Package

PAPERS = ("2406.02539", "2305.04790")


def model_card(
    params: Package,
    languages: Sequence[str],
    evaluation: dict[str, Any],
    lineage: dict[str, Any],
    example: dict[str, str],
    architecture: str,
) -> str:
    """The README.md of the package, with the accuracies as `model-index` metadata."""
    data = ModelCardData(
        language=list(languages),
        license=params.license,
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        tags=["parrot", "multilingual", "vision-language", *(f"arxiv:{paper}" for paper in PAPERS)],
        model_name=params.name,
        eval_results=_results(languages, evaluation, lineage["benchmark"]),
    )
    return f"""---
{data.to_yaml()}
---

# {params.name}

A multilingual vision-language model in {architecture}.

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained(FOLDER, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(FOLDER, trust_remote_code=True)
```

## Accuracy

{evaluation["questions"]} multiple-choice questions, {len(languages)} languages, chance \
{evaluation["chance"]:.1%}. *Seeing* (with its 95 % interval) and *blind* (picture {lineage["blind"]}) \
choose the likeliest option text, *letter* the likeliest letter; *written* is the letter read from what \
the model writes, *kit* the same as VLMEvalKit reads it.

{_accuracy_table(languages, evaluation)}

## An answer it must repeat

Of `{example["image"]}`, {_code(example["question"])} → {_code(example["answer"])}. The package was \
loaded in a new process and gave this answer.

## Where it comes from

| | |
|---|---|
{_rows(lineage)}
"""


def _results(languages: Sequence[str], evaluation: dict[str, Any], split: str) -> list[EvalResult]:
    """For each language: the likeliest option text, and written answers as the kit reads them."""
    columns = {
        f"accuracy, {evaluation['protocol']}": evaluation["accuracy"],
        "accuracy, letter_generation read as VLMEvalKit does": evaluation["written"]["vlmevalkit"],
    }
    return [
        EvalResult(
            task_type="visual-question-answering",
            dataset_type="mmmb",
            dataset_name=f"MMMB form ({language})",
            dataset_config=language,
            dataset_split=split,
            metric_type="accuracy",
            metric_name=name,
            metric_value=column[language],
        )
        for language in languages
        for name, column in columns.items()
    ]


def _accuracy_table(languages: Sequence[str], evaluation: dict[str, Any]) -> str:
    written = evaluation["written"]
    columns = (evaluation["blind"], evaluation["letter"], written["parrot"], written["vlmevalkit"])
    lines = ["| language | seeing | blind | letter | written | kit |", "|---|---:|---:|---:|---:|---:|"]
    for language in (*languages, "overall"):
        interval = evaluation["interval"][language]
        seeing = f"{evaluation['accuracy'][language]:.1%} [{interval['low']:.1%}, {interval['high']:.1%}]"
        cells = " | ".join([seeing, *(f"{column[language]:.1%}" for column in columns)])
        lines.append(f"| {language} | {cells} |")
    return "\n".join(lines)


def _rows(lineage: dict[str, Any]) -> str:
    return "\n".join(f"| {key} | {_code(str(value))} |" for key, value in lineage.items())


def _code(text: str) -> str:
    """The text as it is, whatever of Markdown or HTML it holds; it comes from data files and the model."""
    escaped = html.escape(" ".join(text.split())).replace("|", "&#124;").replace("`", "&#96;")
    return f"<code>{escaped}</code>"
