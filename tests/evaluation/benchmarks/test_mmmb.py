import csv
from pathlib import Path
from typing import Any

import pytest
from scoring_files import write_table
from tsv_rows import picture, question

from parrot.errors import ParrotError
from parrot.evaluation.benchmarks import mmmb
from parrot.evaluation.benchmarks.mmmb import read_questions

SCORING = Path(__file__).parents[3] / "../shared/reference/scoring/tsv"


def rows(**cells: Any) -> list[dict[str, Any]]:
    """Three good rows, the last one changed."""
    return [question(1, picture(1)), question(2, picture(2)), question(7, picture(3)) | cells]


def test_a_question_holds_its_row(tmp_path: Path) -> None:
    cells = {"question": 'Is this a\n"tab\t"?', "hint": "Look.", "C": "None", "D": "N/A", "answer": "C"}
    path = write_table(tmp_path / "a.tsv", rows(**cells), encoding="utf-8-sig")
    last = list(read_questions(path))[2]
    assert (last.index, last.question, last.hint) == (7, cells["question"], "Look.")
    assert last.options == {"A": "one", "B": "two", "C": "None", "D": "N/A"}
    assert (last.answer, last.category, last.split, last.image) == ("C", "count", "dev", picture(3))


def test_order_of_columns_is_free_and_some_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    shuffled = [{key: row[key] for key in reversed(mmmb.REQUIRED)} for row in rows()]
    plain = list(read_questions(write_table(path, shuffled)))
    assert [(q.index, q.hint, q.split) for q in plain] == [(1, "", ""), (2, "", ""), (7, "", "")]
    assert plain[0].image == picture(1)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_a_picture_may_stand_in_another_row_before_or_after(tmp_path: Path, order: list[int]) -> None:
    given = [question(1, picture(1)), question(2, "1"), question(3, "1")]
    path = write_table(tmp_path / "a.tsv", [given[place] for place in order])
    assert [q.image for q in read_questions(path)] == [picture(1)] * 3


def test_a_question_knows_its_group_its_picture_and_its_row(tmp_path: Path) -> None:
    given = [question(4, "7"), question(5, picture(1)), question(6, picture(1)), question(7, picture(2))]
    grouped = [row | {"g_index": 4, "l2-category": "numbers"} for row in given]
    found = list(read_questions(write_table(tmp_path / "a.tsv", grouped)))
    assert [(q.picture, q.row) for q in found] == [(7, 2), (5, 3), (5, 4), (7, 5)]
    assert {(q.group, q.l2_category) for q in found} == {(4, "numbers")}
    plain = next(read_questions(write_table(tmp_path / "a.tsv", given)))
    assert (plain.group, plain.l2_category) == (None, "")


@pytest.mark.parametrize(
    ("cells", "column", "problem"),
    [
        ({"answer": "C"}, "answer", "'C' is none of the options A, B"),
        ({"answer": ""}, "answer", "'' is none of the options A, B"),
        ({"A": "", "B": ""}, "A", "no options"),
        ({"image": "!" * 80}, "image", "broken base64"),
        ({"image": "QUJD" * 20 + "Q"}, "image", "broken base64"),
        ({"image": ""}, "image", "empty"),
        ({"image": "8"}, "image", "no row of index 8 has a picture"),
        ({"image": "7"}, "image", "no row of index 7 has a picture: it is this row"),
        ({"image": "pic.jpg"}, "image", "neither a picture nor the index"),
        ({"index": "1"}, "index", "1 is already that of row 2"),
        ({"index": "x"}, "index", "'x' is no whole number"),
        ({"index": "-7"}, "index", "'-7' is no whole number from 0 on"),
        ({"g_index": ""}, "g_index", "'' is no whole number"),
        ({"question": " "}, "question", "empty"),
        ({"category": ""}, "category", "empty"),
    ],
)
def test_a_wrong_cell_names_file_row_and_column(
    tmp_path: Path, cells: dict[str, str], column: str, problem: str
) -> None:
    given = [{"g_index": 1} | row for row in rows(**cells)]
    path = write_table(tmp_path / "a.tsv", given)
    with pytest.raises(ParrotError) as error:
        list(read_questions(path))
    assert str(error.value).startswith(f"{path}: row 4, column '{column}': ")
    assert problem in str(error.value)


@pytest.mark.parametrize("column", mmmb.REQUIRED)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = write_table(tmp_path / "a.tsv", [{k: v for k, v in row.items() if k != column} for row in rows()])
    with pytest.raises(
        ParrotError, match=f"a.tsv: column '{column}' is missing; the file has index|question"
    ):
        list(read_questions(path))


def test_files_that_are_no_tsv(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    with pytest.raises(ParrotError, match="not found; `parrot data`"):
        next(read_questions(path))
    path.write_text("")
    with pytest.raises(ParrotError, match="column 'index' is missing; the file has none"):
        next(read_questions(path))
    good = write_table(path, rows()).read_bytes()
    path.write_bytes(good.replace(b"What is 7", b"What\tis 7"))
    with pytest.raises(ParrotError, match="row 4: 12 cells under 11 columns"):
        list(read_questions(path))
    path.write_bytes(good.replace(b"What is 7", b'"What" is 7'))
    with pytest.raises(ParrotError, match="row 4: not tab-separated with standard quoting"):
        list(read_questions(path))
    path.write_bytes(good.replace(b"What is 7", b"What is \xff"))
    with pytest.raises(ParrotError, match="not UTF-8"):
        list(read_questions(path))


def test_large_pictures_pass(tmp_path: Path) -> None:
    image = bytes(300_000)
    assert next(read_questions(write_table(tmp_path / "a.tsv", [question(1, image)]))).image == image


@pytest.mark.skipif(not SCORING.is_dir(), reason="the scoring reference is not beside this checkout")
def test_published_layouts(tmp_path: Path) -> None:
    for path in sorted(SCORING.glob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            expected = {int(row["index"]): row for row in csv.DictReader(file, delimiter="\t")}
        found = list(read_questions(path))
        assert [q.index for q in found] == list(expected)
        for q in found:
            assert q.question == expected[q.index]["question"]
            assert q.options == {
                letter: expected[q.index][letter] for letter in "ABCD" if expected[q.index][letter]
            }
            assert q.image.startswith((b"\x89PNG", b"\xff\xd8"))
