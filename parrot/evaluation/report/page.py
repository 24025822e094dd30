"""One HTML file to look at: accuracies with intervals, and questions that the model got wrong.

The file needs nothing else: no network, no script, no other file. Questions, options and answers come
from data files and models; Jinja escapes all of them.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from parrot.evaluation.benchmarks.benchmark import decoded
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion, read_pictures
from parrot.evaluation.benchmarks.suites import BenchmarkFile
from parrot.evaluation.samples import Sample, grouped
from parrot.evaluation.scoring.accuracy import OVERALL, SEEING, Accuracy, gain_warnings, points
from parrot.evaluation.scoring.statistics import Estimate
from parrot.files import write_text
from parrot.lineage import flatten

TEMPLATE = Path(__file__).with_name("page.html")
PICTURE_SIDE = 320
"""Pixels of the longer side of a picture in the page, at most."""
WORST, EXAMPLES = 3, 6
"""Categories of which the page shows wrong answers, and how many of each."""


def choose_examples(
    samples: Sequence[Sample], category: Mapping[str, Accuracy], files: Mapping[str, BenchmarkFile]
) -> list[Sample]:
    """Wrong answers of the worst categories, with their pictures."""
    chosen = [
        one for name in worst_categories(category, WORST) for one in choose_wrong(samples, name, EXAMPLES)
    ]
    pictures = {
        language: read_pictures(files[language].path, {one.question.picture for one in some})
        for language, some in grouped(chosen, lambda one: one.language).items()
    }
    return [
        replace(one, question=replace(one.question, image=pictures[one.language][one.question.picture]))
        for one in chosen
    ]


def worst_categories(category: Mapping[str, Accuracy], count: int) -> list[str]:
    """The categories with the lowest mean over the languages, the worst first; ties in their order."""
    return sorted(category, key=lambda name: category[name][OVERALL])[:count]


def choose_wrong(samples: Sequence[Sample], category: str, count: int) -> list[Sample]:
    """Questions that a seeing model got wrong: the first ones, languages taking turns, no cluster twice."""
    wrong = [one for one in samples if one.question.category == category and not one.answers[SEEING].hit]
    queues = [iter(group) for group in grouped(wrong, lambda one: one.language).values()]
    chosen: dict[str, Sample] = {}
    while queues and len(chosen) < count:
        queue = queues.pop(0)
        sample = next((one for one in queue if one.question.cluster not in chosen), None)
        if sample is not None:
            chosen[sample.question.cluster] = sample
            queues.append(queue)
    return list(chosen.values())


def write_page(
    path: Path,
    title: str,
    settings: Mapping[str, Any],
    *,
    accuracy: Mapping[str, Mapping[str, Estimate]],
    gain: Mapping[str, Estimate],
    category: Mapping[str, Accuracy],
    examples: Sequence[Sample],
) -> None:
    """Write the page; the same arguments make the same bytes.

    Args:
        settings: nested; shown by dotted keys.
        accuracy: run -> language and `overall`, in the order of the columns -> share of right answers.
        gain: language and `overall` -> what the picture adds; may be empty.
        category: category -> share of right answers, seeing.
        examples: with their pictures; shown by category, in their order.

    Raises:
        ParrotError: a picture cannot be decoded; names the question.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}"
    environment.filters["points"] = points
    shown = {
        name: [(one.question, one.answers[SEEING], _picture(one.question)) for one in group]
        for name, group in grouped(examples, lambda one: one.question.category).items()
    }
    page = environment.get_template(TEMPLATE.name).render(
        title=title,
        settings=flatten(settings),
        accuracy=accuracy,
        gain=gain,
        category=category,
        languages=list(next(iter(accuracy.values()))),
        overall=OVERALL,
        warnings=gain_warnings(gain),
        examples=shown,
    )
    write_text(path, page)


def _picture(question: MultipleChoiceQuestion) -> str:
    """A `data:` URI of a copy of at most `PICTURE_SIDE` pixels a side."""
    image = decoded(question, question.image)
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
