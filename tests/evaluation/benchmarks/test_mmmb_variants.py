"""Benchmark files as other programs write them: pandas' tables, and every way to write base64."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tsv_rows import picture

from parrot.evaluation.benchmarks.mmmb import read_questions
from parrot.evaluation.scoring.score import score

REPORTED = Path(__file__).parents[3] / "../shared/reference/reported"
LARGE = [picture(number, (64, 64)) for number in (1, 2)]


def frame(**columns: Any) -> pd.DataFrame:
    """Three questions, the last one about the picture of the first."""
    return pd.DataFrame(
        {
            "index": [1, 2, 7],
            "question": ['Is it\na "cat"?', "How\tmany?", "Which?"],
            "hint": ["", "Look.", ""],
            "A": ["yes", "1", "red"],
            "B": ["no", "2", "blue"],
            "C": ["", "3", ""],
            "answer": ["A", "C", "B"],
            "category": ["cats", "count", "colour"],
            "image": [*(base64.b64encode(image).decode() for image in LARGE), "1"],
        }
        | columns
    )


def missing(table: pd.DataFrame) -> pd.DataFrame:
    """With gaps where cells are empty; a column of numbers with gaps is one of floats."""
    return table.replace("", None)


@pytest.mark.parametrize(
    ("table", "options"),
    [
        (frame(), {"index": False}),
        (frame(), {"index": True}),
        (frame(**{"Unnamed: 0": [0, 1, 2]}), {"index": True}),
        (frame(index=[1.0, 2.0, 7.0]), {"index": False}),
        (frame(index=[1.0, 2.0, 7.0], g_index=[1.0, 2.0, 7.0]), {"index": False}),
        (frame(), {"index": False, "lineterminator": "\r\n"}),
        (frame(), {"index": False, "encoding": "utf-8-sig"}),
        (frame(), {"index": False, "quoting": 1}),
        (missing(frame()), {"index": False}),
        (missing(frame()), {"index": False, "na_rep": "nan"}),
        (missing(frame()).astype(str), {"index": False}),
    ],
    ids=["plain", "pandas' index", "pandas' index twice", "floats", "floats in groups", "CRLF", "BOM",
         "all quoted", "gaps", "gaps as nan", "gaps through str"],
)  # fmt: skip
def test_what_pandas_writes_is_read(tmp_path: Path, table: pd.DataFrame, options: dict[str, Any]) -> None:
    if "C" in table and table["C"].astype(str).isin(["None"]).any():
        table = table.replace("None", "nan")  # str(None); a gap of pandas itself is nan
    path = tmp_path / "mmmb_en.tsv"
    path.write_bytes(table.to_csv(sep="\t", **options).encode(options.get("encoding", "utf-8")))
    first, second, third = read_questions(path)
    assert [one.index for one in (first, second, third)] == [1, 2, 7]
    assert (first.question, second.question) == ('Is it\na "cat"?', "How\tmany?")
    assert [one.hint for one in (first, second, third)] == ["", "Look.", ""]
    assert [list(one.options) for one in (first, second, third)] == [["A", "B"], ["A", "B", "C"], ["A", "B"]]
    assert [one.image for one in (first, second, third)] == [LARGE[0], LARGE[1], LARGE[0]]


def test_a_reference_among_floats_is_one(tmp_path: Path) -> None:
    path = tmp_path / "mmmb_en.tsv"
    table = frame()
    table["image"] = [*table["image"][:2], "1.0"]
    table.to_csv(path, sep="\t")
    assert list(read_questions(path))[2].image == LARGE[0]


def wrapped(text: str) -> str:
    return "\n".join(text[start : start + 76] for start in range(0, len(text), 76))


@pytest.mark.parametrize(
    "written",
    [
        wrapped,
        lambda text: wrapped(text).replace("\n", "\r\n") + "\r\n",
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: text.rstrip("="),
        lambda text: f"data:image/jpeg;base64,{text}",
        lambda text: f"  {text}\t",
    ],
    ids=["wrapped", "wrapped with CRLF", "url-safe", "unpadded", "data URI", "spaces"],
)
def test_one_reader_serves_score_and_predict(tmp_path: Path, written: Callable[[str], str]) -> None:
    tsvs, tables = tmp_path / "tsv", tmp_path / "pred"
    tsvs.mkdir()
    tables.mkdir()
    table = frame()
    table["image"] = [written(text) if len(text) > 64 else text for text in table["image"]]
    table.to_csv(tsvs / "mmmb_en.tsv", sep="\t", index=False)
    predictions = pd.DataFrame({"index": [1.0, 2.0, 7.0], "prediction": ["A", "C", "A"]})
    predictions.to_csv(tables / "mmmb_en.tsv", sep="\t", index=False)
    assert [one.image for one in read_questions(tsvs / "mmmb_en.tsv")] == [LARGE[0], LARGE[1], LARGE[0]]
    report = score(tsvs, tables, protocol="parrot", output=tmp_path / "report.json")
    assert report["MMMB"]["en"]["hits"] == {"1": 1, "2": 1, "7": 0}


def test_a_picture_is_one_however_it_is_written(tmp_path: Path) -> None:
    """So that pairs of opposite questions about it are found."""
    table = frame()
    text = base64.b64encode(LARGE[0]).decode()
    table["image"] = [text, wrapped(text), f"data:image/jpeg;base64,{text}"]
    table.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    assert {one.picture for one in read_questions(tmp_path / "a.tsv")} == {1}


@pytest.mark.parametrize("name", ["23_tsv_index_float", "24_tsv_wrapped_base64"])
@pytest.mark.parametrize("protocol", ["parrot", "vlmevalkit"])
def test_what_was_reported_is_read(tmp_path: Path, name: str, protocol: str) -> None:
    folder = REPORTED / name
    if not folder.is_dir():
        pytest.skip("the reported inputs are not beside this checkout")
    (question,) = read_questions(folder / "tsv/mmmb_en.tsv")
    assert question.index == 1
    assert io.BytesIO(question.image).read(3) == b"\xff\xd8\xff"
    assert list(question.options) == ["A", "B", "C"]
    found = score(folder / "tsv", folder / "pred", protocol=protocol, output=tmp_path / "report.json")
    assert found["MMMB"]["en"]["overall"] == 1.0
