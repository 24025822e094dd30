"""From predictions to accuracies. No model, no files."""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from parrot.evaluation.benchmarks.mmmb import Question
from parrot.evaluation.inference.predictions import Prediction
from parrot.evaluation.scoring.multiple_choice import paired

OVERALL = "overall"
"""The mean of the languages' accuracies, so that every language counts the same."""

Accuracy = dict[str, float]
"""Language -> share of right answers in 0 … 1, and `overall`."""


def by_language(
    predictions: Iterable[Prediction], languages: Sequence[str], value: Callable[[Prediction], float]
) -> Accuracy:
    """The mean of `value` in each language, and `overall` the mean of those means; 4 decimals."""
    values: dict[str, list[float]] = {language: [] for language in languages}
    for prediction in predictions:
        values[prediction.language].append(value(prediction))
    means = {language: fmean(values[language]) for language in languages}
    means[OVERALL] = fmean(means.values())
    return {name: round(mean, 4) for name, mean in means.items()}


def accuracy(predictions: Iterable[Prediction], languages: Sequence[str], run: str) -> Accuracy:
    return by_language(predictions, languages, lambda prediction: prediction.hits[run])


def category_accuracy(
    predictions: Sequence[Prediction], languages: Sequence[str], run: str
) -> dict[str, Accuracy]:
    """Category -> accuracy, categories in the order of the benchmark."""
    groups: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        groups.setdefault(prediction.question.category, []).append(prediction)
    return {category: accuracy(group, languages, run) for category, group in groups.items()}


def l2_accuracy(predictions: Iterable[Prediction], run: str) -> dict[str, Accuracy]:
    """Broader category -> language -> accuracy; empty where the benchmark names none."""
    hits: dict[str, dict[str, list[bool]]] = {}
    for prediction in predictions:
        if name := prediction.question.l2_category:
            hits.setdefault(name, {}).setdefault(prediction.language, []).append(prediction.hits[run])
    return {
        name: {language: round(fmean(found), 4) for language, found in by_language.items()}
        for name, by_language in hits.items()
    }


def pair_accuracy(predictions: Iterable[Prediction], run: str) -> Accuracy:
    """Language -> share of opposite questions of which both are right; only languages that have such."""
    scored: dict[str, list[tuple[Question, bool]]] = {}
    for prediction in predictions:
        scored.setdefault(prediction.language, []).append((prediction.question, prediction.hits[run]))
    found = {language: paired(rows)["accuracy"] for language, rows in scored.items()}
    return {language: round(share, 4) for language, share in found.items() if share is not None}


def chance(predictions: Iterable[Prediction], languages: Sequence[str]) -> float:
    """The expected overall accuracy of a guess."""
    return by_language(predictions, languages, lambda prediction: prediction.chance)[OVERALL]


def expert_weights(predictions: Iterable[Prediction], languages: Sequence[str]) -> dict[str, list[float]]:
    """Language -> mean weight of each expert, 4 decimals; empty if the model has no experts."""
    routings: dict[str, list[list[float]]] = {language: [] for language in languages}
    for prediction in predictions:
        if prediction.routing is not None:
            routings[prediction.language].append(prediction.routing)
    return {
        language: [round(fmean(weights), 4) for weights in zip(*rows, strict=True)]
        for language, rows in routings.items()
        if rows
    }
