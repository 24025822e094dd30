"""What the Hub reads of a model: the card's metadata, and evaluation results in a form of their own.

The forms: https://github.com/huggingface/hub-docs, `modelcard.md` and `docs/hub/eval-results.md`.
"""

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from parrot.catalog.facts import origin_of
from parrot.config import HubModel
from parrot.publishing.card_facts import CardFacts

PAPERS = ("2406.02539", "2305.04790")
LICENSE = "LICENSE"
CONFIDENCE = 0.95
READ_AS_VLMEVALKIT = "letter_generation read as VLMEvalKit does"


def card_metadata(facts: CardFacts) -> ModelCardData:
    bases = [model.repo for _, model in facts.made_from() if isinstance(model, HubModel)]
    origins = map(origin_of, facts.sources.values())
    datasets = {origin.hub for origin in origins if origin and origin.hub}
    named = facts.package.license_name
    return ModelCardData(
        language=list(facts.languages),
        license=facts.package.license,
        license_name=named,
        license_link=LICENSE if named else None,
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        base_model=bases or None,
        base_model_relation="finetune" if bases else None,
        datasets=sorted(datasets) or None,
        metrics=["accuracy"],
        tags=["parrot", "multilingual", "vision-language", *(f"arxiv:{paper}" for paper in PAPERS)],
        model_name=facts.package.name,
        eval_results=_model_index(facts),
    )


def eval_results(facts: CardFacts) -> dict[str, str]:
    """File name -> its YAML, for the folder `.eval_results`, one a way of reading answers.

    Empty if the benchmark is no data set of the Hub: the form has no place for another.
    """
    if not facts.evaluate.dataset:
        return {}
    files = {}
    for name, (protocol, values, intervals) in _columns(facts).items():
        entries = [
            EvalResultEntry(
                dataset_id=facts.evaluate.dataset,
                task_id=Path(facts.evaluate.files[language]).stem,
                value=values[language],
                notes=f"{protocol}{_in_words(intervals[language]) if intervals else ''}",
            )
            for language in facts.languages
        ]
        written = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
        files[f"{name}.yaml"] = written
    return files


def _columns(facts: CardFacts) -> dict[str, tuple[str, dict[str, float], dict[str, Any] | None]]:
    """Name -> how answers were read, the accuracies and their intervals, by language."""
    scores = facts.scores
    return {
        scores["protocol"]: (scores["protocol"], scores["accuracy"], scores["interval"]),
        "vlmevalkit": (READ_AS_VLMEVALKIT, scores["written"]["vlmevalkit"], None),
    }


def _in_words(interval: dict[str, float]) -> str:
    return f", {CONFIDENCE:.0%} interval {interval['low']} to {interval['high']}"


def _model_index(facts: CardFacts) -> list[EvalResult]:
    """For each language: the likeliest option text, and written answers as VLMEvalKit reads them."""
    return [
        EvalResult(
            task_type="visual-question-answering",
            dataset_type=facts.evaluate.dataset or facts.evaluate.name,
            dataset_name=f"{facts.evaluate.name} ({language})",
            dataset_config=language,
            dataset_split=Path(facts.evaluate.benchmark).name,
            metric_type="accuracy",
            metric_name=f"accuracy, {protocol}",
            metric_value=values[language],
            metric_args={"confidence": CONFIDENCE, **intervals[language]} if intervals else None,
        )
        for language in facts.languages
        for protocol, values, intervals in _columns(facts).values()
    ]
