"""Each way in which files can be wrong is one line that says where; what is only unusual is read."""

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scoring_files import ask, image, rotations, write_pair, write_table

from parrot.cli import main
from parrot.errors import ParrotError
from parrot.evaluation.scoring.score import score

Edit = Callable[[bytes], bytes]
PREDICTIONS = ["A", "B", "A"]


def three(**cells: Any) -> list[dict[str, Any]]:
    """Three good rows, the last one changed."""
    return [ask(1), ask(2), ask(7) | cells]


def run(folder: Path, protocol: str = "parrot") -> dict[str, Any]:
    return score(folder / "tsv", folder / "pred", protocol=protocol, output=folder / "report.json")


def refused(folder: Path, protocol: str = "parrot") -> str:
    """The one line with which scoring stops; nothing is written."""
    with pytest.raises(ParrotError) as error:
        run(folder, protocol)
    assert not (folder / "report.json").exists()
    line = str(error.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("protocol", ["parrot", "vlmevalkit"])
@pytest.mark.parametrize(
    ("cells", "column", "problem"),
    [
        ({"index": "7.5"}, "index", "'7.5' is no whole number"),
        ({"index": f"{2**53 + 2}.0"}, "index", "is larger than 9007199254740992"),
        ({"image": "!" * 80}, "image", "broken base64"),
        ({"index": "seven"}, "index", "'seven' is no whole number"),
        ({"index": ""}, "index", "'' is no whole number"),
        ({"index": "-7"}, "index", "'-7' is no whole number"),
        ({"index": "٧"}, "index", "'٧' is no whole number"),
        ({"index": "1_000"}, "index", "'1_000' is no whole number"),
        ({"index": 2**63}, "index", "9223372036854775808 is larger than 9223372036854775807"),
        ({"index": "9" * 5000}, "index", "is larger than"),
        ({"index": 1}, "index", "1 is already that of row 2"),
        ({"g_index": "x"}, "g_index", "'x' is no whole number"),
        ({"A": "", "B": ""}, "A", "the question has no options"),
        ({"answer": "C"}, "answer", "'C' is none of the options A, B"),
        ({"answer": "b"}, "answer", "'b' is none of the options A, B"),
        ({"answer": ""}, "answer", "'' is none of the options A, B"),
        ({"answer": "red"}, "answer", "'red' is none of the options A, B"),
        ({"question": " "}, "question", "empty"),
        ({"category": ""}, "category", "empty"),
        ({"image": "9"}, "image", "no row of index 9 has a picture"),
        ({"image": "7"}, "image", "no row of index 7 has a picture: it is this row"),
        ({"image": "picture.jpg"}, "image", "neither a picture nor the index of another row"),
        ({"image": " "}, "image", "empty"),
        ({"hint": "a\0b"}, "hint", "holds a NUL byte"),
    ],
)
def test_a_wrong_cell_names_file_row_and_column(
    tmp_path: Path, protocol: str, cells: dict[str, Any], column: str, problem: str
) -> None:
    rows = [row | {"g_index": row["index"]} | (cells if row["index"] == 7 else {}) for row in three()]
    write_pair(tmp_path, rows, PREDICTIONS)
    line = refused(tmp_path, protocol)
    assert line.startswith(f"{tmp_path}/tsv/mmmb_en.tsv: row 4, column '{column}': ")
    assert problem in line


def test_a_row_that_names_a_row_that_names_a_third_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, [ask(1), ask(2, image=1), ask(3, image=2)], PREDICTIONS)
    assert "row 4, column 'image': no row of index 2 has a picture: row 3 names another one" in refused(
        tmp_path
    )


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda data: data.replace(b"category", b"kind", 1), "column 'category' is missing; the file has"),
        (lambda data: data.replace(b"hint", b"question", 1), "row 1: column 'question' stands there twice"),
        (lambda data: b"", "column 'index' is missing; the file has none"),
        (lambda data: data[: data.index(b"\n") + 1], "holds no question"),
        (lambda data: codecs.BOM_UTF16_LE + data.decode().encode("utf-16-le"), "not UTF-8 after row 1"),
        (lambda data: data.decode().encode("utf-16-le"), "row 1: holds a NUL byte"),
        (lambda data: data.replace(b"What", "É".encode("latin-1"), 1), "not UTF-8"),
        (lambda data: data.replace(b"What is it", b"What\ris it", 1), "row 2: 2 cells under"),
        (lambda data: data.replace(b"What is it", b"What\tis it", 1), "row 2: 12 cells under 11 columns"),
        (lambda data: data.replace(b"red", b'"red', 1), "row 2: not tab-separated with standard quoting"),
        (lambda data: data.replace(b"red", b'"r"ed', 1), "row 2: not tab-separated with standard quoting"),
        (lambda data: data[: data.rindex(b"\t")], "row 4: 10 cells under 11 columns"),
    ],
    ids=["missing column", "doubled column", "empty", "header only", "UTF-16", "UTF-16 without BOM",
         "Latin-1", "lone CR", "tab", "open quote", "quote inside", "cut off"],
)  # fmt: skip
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, edit: Edit, problem: str) -> None:
    write_pair(tmp_path, three(), PREDICTIONS)
    path = tmp_path / "tsv" / "mmmb_en.tsv"
    path.write_bytes(edit(path.read_bytes()))
    line = refused(tmp_path)
    assert line.startswith(f"{path}: ")
    assert problem in line


@pytest.mark.parametrize(
    ("edit", "cells"),
    [
        (lambda data: codecs.BOM_UTF8 + data, {}),
        (lambda data: data.replace(b"\n", b"\r\n"), {}),
        (lambda data: data.replace(b"\n", b"\r"), {}),
        (lambda data: data + b"\n\n", {}),
        (lambda data: data, {"question": "What\nis\r\nit?"}),
        (lambda data: data, {"hint": 'a "b"\tc\rd'}),
        (lambda data: data, {"B": "", "C": "blue"}),
        (lambda data: data, {"answer": " A "}),
        (lambda data: data, {"index": " 7 "}),
        (lambda data: data, {"index": 2**63 - 1}),
        (lambda data: data, {"image": " 1 "}),
        (lambda data: data, {"B": "red"}),
    ],
    ids=["BOM", "CRLF", "CR", "blank lines", "line break in a cell", "quotes in a cell", "option gap",
         "spaces round the answer", "spaces round the index", "largest index", "spaces round a reference",
         "equal options"],
)  # fmt: skip
def test_what_is_only_unusual_is_read(tmp_path: Path, edit: Edit, cells: dict[str, Any]) -> None:
    write_pair(tmp_path, three(**cells), PREDICTIONS)
    path = tmp_path / "tsv" / "mmmb_en.tsv"
    path.write_bytes(edit(path.read_bytes()))
    found = run(tmp_path)["MMMB"]["en"]
    assert list(found["hits"].values()) == [1, 0, 1]


@pytest.mark.parametrize(
    ("change", "row", "column", "problem"),
    [
        (lambda rows: rows[0].update(index=5_000_000, image=image(0)), 2, "index",
         "a rotation of question 0, whose main row (index 0) is missing"),
        (lambda rows: rows[2].update(category="shape"), 4, "category", "'shape', but 'colour' in row 2"),
        (lambda rows: rows[1].update(C="pink"), 3, "A", "the options are not those of row 2"),
        (lambda rows: rows[1].update(C=""), 3, "A", "the options are not those of row 2"),
        (lambda rows: rows[2].update(answer="A" if rows[2]["answer"] != "A" else "B"), 4, "answer",
         "is not the text that is right in row 2"),
    ],
    ids=["no main row", "category", "option", "fewer options", "answer"],
)  # fmt: skip
def test_rows_that_are_no_rotations_of_each_other_are_refused(
    tmp_path: Path, change: Callable[[list[dict[str, Any]]], None], row: int, column: str, problem: str
) -> None:
    rows = rotations(0, ["red", "blue", "green"], "blue")
    rows[1]["image"] = rows[2]["image"] = image(0)
    change(rows)
    write_pair(tmp_path, rows, PREDICTIONS, name="mmbench_dev_en.tsv")
    line = refused(tmp_path)
    assert line.startswith(f"{tmp_path}/tsv/mmbench_dev_en.tsv: row {row}, column '{column}': ")
    assert problem in line


def test_a_group_without_main_row_is_dropped_as_the_kit_does_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*rotations(1, ["red", "blue"], "red"), *rotations(2, ["red", "blue"], "red")[1:]]
    rows[2]["image"] = image(2)
    tsvs, tables = write_pair(tmp_path, rows, ["A", "B", "B"], name="mmbench_dev_en.tsv")
    report = score(tsvs, tables, protocol="vlmevalkit", output=tmp_path / "report.json")
    found = report["MTL_MMBench_DEV"]["en"]
    assert (found["n_rows"], found["n_scored"], found["hits"]) == (3, 1, {"1": 1})
    assert found["dropped"] == {"groups without main row": 1}
    assert "dropped as VLMEvalKit does: groups without main row: 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("indices", "columns", "problem"),
    [
        ([1], ("index", "prediction"), "column 'index': no prediction for question 2 and 1 more"),
        ([1, 2, 7, 2], ("index", "prediction"), "row 5, column 'index': 2 has a prediction already"),
        ([1, 2, 7, 8], ("index", "prediction"), "row 5, column 'index': 8 is no question"),
        ([1, 2, "7.5"], ("index", "prediction"), "row 4, column 'index': '7.5' is no whole number"),
        ([1, 2, 7], ("index", "answer"), "column 'prediction' is missing; the file has index, answer"),
        ([1, 2, 7], ("id", "prediction"), "column 'index' is missing; the file has id, prediction"),
    ],
    ids=["missing", "doubled", "unknown", "no number", "no predictions", "no index"],
)  # fmt: skip
def test_a_wrong_table_of_predictions_is_refused(
    tmp_path: Path, indices: list[Any], columns: tuple[str, str], problem: str
) -> None:
    write_pair(tmp_path, three(), PREDICTIONS)
    rows = [dict(zip(columns, (index, "A"), strict=True)) for index in indices]
    path = write_table(tmp_path / "pred" / "mmmb_en.tsv", rows)
    for protocol in ("parrot", "vlmevalkit"):
        line = refused(tmp_path, protocol)
        assert line.startswith(f"{path}: ")
        assert problem in line


def test_predictions_that_are_absent_are_asked_for(tmp_path: Path) -> None:
    write_table(tmp_path / "tsv" / "mmmb_en.tsv", three())
    line = refused(tmp_path)
    assert f"{tmp_path}/pred/mmmb_en.tsv: not found" in line and f"{tmp_path}/tsv/mmmb_en.tsv" in line


def test_a_file_of_no_suite_is_refused_with_the_way_to_add_it(tmp_path: Path) -> None:
    write_pair(tmp_path, three(), PREDICTIONS)
    write_table(tmp_path / "tsv" / "mmmb_fi.tsv", three())
    line = refused(tmp_path)
    assert "mmmb_fi.tsv: no suite names this file" in line and "--benchmarks" in line


def test_a_folder_without_benchmark_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tsv").mkdir()
    assert "tsv: holds no benchmark; expected files such as mmmb_en.tsv" in refused(tmp_path)
    (tmp_path / "tsv").rmdir()
    assert "tsv: no folder" in refused(tmp_path)


def test_the_command_line_prints_the_sentence(tmp_path: Path) -> None:
    write_pair(tmp_path, three(answer="C"), PREDICTIONS)
    folders = [str(tmp_path / "tsv"), str(tmp_path / "pred")]
    with pytest.raises(SystemExit) as stop:
        main(["score", *folders, "--output", str(tmp_path / "report.json")])
    assert str(stop.value.code).startswith("parrot score: ")
    assert "row 4, column 'answer': 'C' is none of the options A, B" in str(stop.value.code)
