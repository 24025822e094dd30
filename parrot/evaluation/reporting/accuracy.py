"""From predictions to accuracies. No model, no files."""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from parrot.evaluation.asking.predictions import Prediction

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
