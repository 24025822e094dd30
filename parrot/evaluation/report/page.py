"""One HTML file to look at: accuracies with intervals, and questions that the model got wrong.

The file needs nothing else: no network, no script, no other file. Questions, options and answers come
from data files and models; Jinja escapes all of them.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from parrot.data.images import decode
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import Question
from parrot.evaluation.report.accuracy import OVERALL
from parrot.evaluation.report.records import Answered
from parrot.evaluation.report.summary import SEEING, Table, eye_warnings, points
from parrot.files import write_text
from parrot.lineage import flatten

TEMPLATE = Path(__file__).with_name("page.html")
PICTURE_SIDE = 320
"""Pixels of the longer side of a picture in the page, at most."""


@dataclass(frozen=True)
class Example:
    """A question as it was put, and what the model made of it."""

    language: str
    index: int
    category: str
    question: str
    hint: str
    options: dict[str, str]
    """Letter -> text."""
    answer: str
    """The right option's letter."""
    choice: str | None
    """The model's; None where its answer could not be read."""
    text: str | None
    """What the model wrote, if it wrote."""
    picture: bytes
    """An encoded picture of any size."""


def make_example(answered: Answered, question: Question) -> Example:
    """The seeing model's answer beside the question of the benchmark file."""
    reply = answered.replies[SEEING]
    return Example(
        language=answered.language,
        index=answered.index,
        category=answered.category,
        question=question.question,
        hint=question.hint,
        options=question.options,
        answer=answered.answer,
        choice=reply.choice,
        text=reply.text,
        picture=question.image,
    )


def write_page(
    path: Path, title: str, settings: Mapping[str, Any], table: Table, examples: Sequence[Example]
) -> None:
    """Write the page; the same arguments make the same bytes.

    Args:
        settings: nested; shown by dotted keys.
        examples: shown by category, in their order.

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
    by_category: dict[str, list[tuple[Example, str]]] = {}
    for example in examples:
        by_category.setdefault(example.category, []).append((example, _picture(example)))
    page = environment.get_template(TEMPLATE.name).render(
        title=title,
        settings=flatten(settings),
        table=table,
        languages=list(next(iter(table.accuracy.values()))),
        overall=OVERALL,
        warnings=eye_warnings(table.eyes),
        examples=by_category,
    )
    write_text(path, page)


def _picture(example: Example) -> str:
    """A `data:` URI of a copy of at most `PICTURE_SIDE` pixels a side."""
    try:
        image = decode(example.picture)
    except ParrotError as error:
        raise ParrotError(f"question {example.index} in '{example.language}': {error}") from None
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
