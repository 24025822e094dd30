import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flat_world import picture
from folders import settings, write_evaluation
from PIL import Image

from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion
from parrot.evaluation.report.page import PICTURE_SIDE, write_page
from parrot.evaluation.samples import Answer, Sample, read_evaluation
from parrot.evaluation.scoring.accuracy import accuracy_estimates, category_accuracy, image_gain

Numbers = dict[str, Any]
SCRIPT = "<script>alert('&')</script>"
IMAGE = '"><img src="http://example.org/x.png" onerror="alert(1)">'
EMPTY_TAGS = {"meta", "img"}


class Page(HTMLParser):
    """The tags with their attributes, the text, and whether every tag is closed where it should be."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in EMPTY_TAGS:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def table(tmp_path: Path) -> Numbers:
    """The numbers of a page."""

    def hit(language: str, run: str, index: int) -> bool:
        return run == "seeing" and language == "en" and index % 5 != 0

    evaluation = read_evaluation(write_evaluation(tmp_path / "evaluation", hit))
    return {
        "accuracy": {run: accuracy_estimates(evaluation.samples, run) for run in evaluation.runs},
        "gain": image_gain(evaluation.samples),
        "category": category_accuracy(evaluation.samples, "seeing"),
    }


@pytest.fixture
def example() -> Sample:
    question = MultipleChoiceQuestion(
        language="ar",
        index=17,
        category="colour",
        question="ما لون السمكة؟",
        hint=SCRIPT,
        options={"A": "أحمر", "B": IMAGE, "C": "أزرق"},
        answer="A",
        image=picture(2),
    )
    return Sample(question, {"seeing": Answer("B", f"B\n{SCRIPT}", hit=False)})


def asked(example: Sample, **changes: Any) -> Sample:
    return replace(example, question=replace(example.question, **changes))


def write(tmp_path: Path, table: Numbers, *examples: Sample) -> Page:
    write_page(tmp_path / "page.html", f"Parrot {SCRIPT}", settings(), **table, examples=examples)
    return Page((tmp_path / "page.html").read_text(encoding="utf-8"))


def test_what_data_and_models_write_is_text_and_no_markup(
    tmp_path: Path, table: Numbers, example: Sample
) -> None:
    table["category"][IMAGE] = {"en": 0.0, "overall": 0.0}
    page = write(tmp_path, table, example, asked(example, category=IMAGE, language=IMAGE))
    assert page.all("script") == []
    assert len(page.all("img")) == 2
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    text = "".join(page.text)
    assert text.count(SCRIPT) == 2 + 2 * 2  # title and heading; hint and answer of each example
    assert IMAGE in text


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path, table: Numbers, example: Sample) -> None:
    page = write(tmp_path, table, example)
    sources = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data")
    ]
    assert sources and all(source and source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not page.all("link")
    assert "url(" not in "".join(page.text) and "@import" not in "".join(page.text)
    (policy,) = (meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy and policy.startswith("default-src 'none'")


def test_pictures_are_embedded_small(tmp_path: Path, table: Numbers, example: Sample) -> None:
    file = io.BytesIO()
    Image.effect_noise((1600, 800), 80).convert("P").save(file, format="PNG")
    (image,) = write(tmp_path, table, asked(example, image=file.getvalue())).all("img")
    encoded = base64.b64decode(str(image["src"]).partition(",")[2])
    with Image.open(io.BytesIO(encoded)) as shown:
        assert shown.size == (PICTURE_SIDE, PICTURE_SIDE // 2)
    assert len(encoded) < 100_000


def test_an_answer_that_could_not_be_read(tmp_path: Path, table: Numbers, example: Sample) -> None:
    page = write(tmp_path, table, replace(example, answers={"seeing": Answer(None, "well …")}))
    assert "no option could be read from the answer" in "".join(page.text)
    assert [item["class"] for item in page.all("li")] == ["right", "", ""]


def test_the_right_and_the_chosen_option_are_marked(tmp_path: Path, table: Numbers, example: Sample) -> None:
    page = write(tmp_path, table, example)
    assert [item["class"] for item in page.all("li")] == ["right", "wrong", ""]
    text = "".join(page.text)
    assert text.count("✓ right") == 1 and text.count("✗ chosen") == 1


def test_directions_follow_the_text(tmp_path: Path, table: Numbers, example: Sample) -> None:
    page = write(tmp_path, table, example)
    shown = [attributes for _, attributes in page.tags if attributes.get("lang") == "ar"]
    assert len(shown) == 4  # hint, question, options, answer
    assert [item["dir"] for item in page.all("li")] == ["auto"] * 3


def test_the_tables_hold_accuracies_gains_and_a_coloured_cell_for_each_category(
    tmp_path: Path, table: Numbers
) -> None:
    page = write(tmp_path, table)
    text = "".join(page.text)
    for shown in ("80.0", "[", "+80.0", "seeing − blind", "benchmark.en.file", "mmmb_en.tsv"):
        assert shown in text
    assert "zh: the picture may not help: seeing minus blind is +0.0 points [+0.0, +0.0]" in text
    cells = [cell["style"] for cell in page.all("td") if "style" in cell]
    assert len(cells) == 2 * 3  # categories × (languages and overall)
    assert cells[0] == "background: rgba(56, 140, 220, 0.48)"


def test_the_same_arguments_make_the_same_bytes(tmp_path: Path, table: Numbers, example: Sample) -> None:
    write(tmp_path, table, example)
    before = (tmp_path / "page.html").read_bytes()
    write(tmp_path, table, example)
    assert (tmp_path / "page.html").read_bytes() == before


def test_a_broken_picture_is_named(tmp_path: Path, table: Numbers, example: Sample) -> None:
    with pytest.raises(
        ParrotError, match="question 17 in 'ar', column 'image': a picture of 4 bytes cannot be decoded"
    ):
        write(tmp_path, table, asked(example, image=b"none"))
    assert not (tmp_path / "page.html").exists()


def test_without_a_run_that_shows_no_picture_nothing_is_said_of_it(tmp_path: Path, table: Numbers) -> None:
    page = write(tmp_path, table | {"gain": {}})
    assert "seeing − blind" not in "".join(page.text)
