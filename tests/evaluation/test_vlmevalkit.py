"""VLMEvalKit's own numbers, and the rules behind them."""

import json
from pathlib import Path
from typing import Any

import pytest
from scoring_files import ask, write_pair

from parrot.cli import main
from parrot.evaluation.scoring import vlmevalkit
from parrot.evaluation.scoring.score import EXTRACTORS, score

REFERENCE = Path(__file__).parents[2] / "../shared/reference/scoring"
OPTIONS = {"A": "red", "B": "blue", "C": "green", "D": "white"}


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the scoring reference is not beside this checkout")
@pytest.mark.parametrize(
    ("protocol", "gold"), [("vlmevalkit", "expected.json"), ("vlmevalkit-2024", "expected_2024.json")]
)
def test_every_number_is_the_kits(tmp_path: Path, protocol: str, gold: str) -> None:
    report = score(REFERENCE / "tsv", REFERENCE / "pred", protocol=protocol, output=tmp_path / "report.json")
    expected = json.loads((REFERENCE / gold).read_text(encoding="utf-8"))
    for suite in ("MMMB", "MTL_MMBench_DEV"):
        assert report[suite].keys() == expected[suite].keys()
        for language, values in expected[suite].items():
            found = report[suite][language]
            assert {key: found[key] for key in ("dataset", "mode", "split", "n_rows", "n_scored")} == {
                key: values[key] for key in ("dataset", "mode", "split", "n_rows", "n_scored")
            }
            assert (found["hits"], found["extracted"]) == (values["hits"], values["extracted"])
            assert found["overall"] == pytest.approx(values["overall"], abs=1e-9)
            assert found["category"] == pytest.approx(values["category"], abs=1e-9)
            assert found["l2_category"] == pytest.approx(values["l2_category"], abs=1e-9)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == report


@pytest.mark.parametrize(
    ("answer", "now", "in_2024"),
    [
        ("B", "B", "B"),
        ("A red box", "A", "A"),
        ("A resposta é B", None, None),
        ("The answer is definitely blue", "D", "B"),
        ("the  answer\nis **c", "C", None),
        ("The answer is B, not C, although A is close", "B", None),
        ("B one two three", "B", "B"),
        ("B one two three four", None, "B"),
        ("B one two three four B", None, "B"),
        ("b", None, None),
        ("Ｂ", None, None),
        ("B。", None, None),
        ("В", None, None),
        ("bored", "A", "A"),
        ("red, blue", None, None),
        ("blue" + "~" * 30, "B", "B"),
        ("blue" + "~" * 31, None, "B"),
        ("Failed to obtain answer via API. C", None, None),
        ("Failed to obtain answer via API. red", None, "A"),
        ("I can't process this file. D", "Z", "Z"),
        ("Z", "Z", "Z"),
        ("Z B", "B", "B"),
        ("Z red", "Z", "Z"),
        ("nan", None, None),
    ],
)
def test_answers_as_the_kit_reads_them(answer: str, now: str | None, in_2024: str | None) -> None:
    assert vlmevalkit.extract_answer(answer, OPTIONS) == now
    assert EXTRACTORS["vlmevalkit-2024"](answer, OPTIONS) == in_2024


@pytest.mark.parametrize(
    ("column", "seen"),
    [
        (["7", "12"], ["7", "12"]),
        (["7", ""], ["7.0", ""]),
        (["007", "8"], ["7", "8"]),
        (["7", "", "x"], ["7", "", "x"]),
        (["1.50", "2"], ["1.5", "2.0"]),
        (["TRUE", "false"], ["True", "False"]),
        (["None", "N/A", "none"], ["", "", "none"]),
        (['a "b"\tc\r\nd', "e\rf"], ['a "b"\tc\r\nd', "e\rf"]),
    ],
)
def test_columns_as_pandas_leaves_them(column: list[str], seen: list[str]) -> None:
    assert vlmevalkit.through_pandas({"A": column})["A"] == seen


def overall(folder: Path, protocol: str, **rows: Any) -> dict[str, Any]:
    tsvs, tables = write_pair(folder, **rows)
    return score(tsvs, tables, protocol=protocol, output=folder / "report.json")["MMMB"]["en"]


def test_an_option_that_pandas_deletes_can_be_chosen_under_our_protocol_only(tmp_path: Path) -> None:
    rows = [ask(1, A="None", B="Nan", answer="A"), ask(2, A="NA", B="no", answer="A")]
    given = {"questions": rows, "predictions": ["A", "NA"]}
    ours, kits = overall(tmp_path, "parrot", **given), overall(tmp_path, "vlmevalkit", **given)
    assert (ours["extracted"], ours["overall"]) == ({"1": "A", "2": "A"}, 1.0)
    assert (kits["extracted"], kits["overall"]) == ({"1": None, "2": None}, 0.0)


def test_an_empty_prediction_is_the_text_nan_to_the_kit(tmp_path: Path) -> None:
    given = {"questions": [ask(1, A="Nan", B="Rice", answer="A")], "predictions": [""]}
    assert overall(tmp_path, "vlmevalkit", **given)["extracted"] == {"1": "A"}
    assert overall(tmp_path, "parrot", **given)["extracted"] == {"1": None}


def test_a_number_in_a_column_with_gaps_is_no_longer_found_in_the_answer(tmp_path: Path) -> None:
    rows = [ask(1, C="7", answer="C"), ask(2)]
    given = {"questions": rows, "predictions": ["it has 7", "A"]}
    assert overall(tmp_path, "vlmevalkit", **given)["extracted"] == {"1": None, "2": "A"}
    assert overall(tmp_path, "parrot", **given)["extracted"] == {"1": "C", "2": "A"}


def test_a_space_beside_the_right_letter_makes_every_answer_wrong_to_the_kit(tmp_path: Path) -> None:
    given = {"questions": [ask(1, answer=" B")], "predictions": ["B"]}
    assert overall(tmp_path, "vlmevalkit", **given)["overall"] == 0.0
    assert overall(tmp_path, "parrot", **given)["overall"] == 1.0


@pytest.mark.parametrize("image", ["", "N/A"])
def test_a_row_without_image_is_dropped_and_counted(
    tmp_path: Path, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [ask(1), ask(2, image=image), ask(3)]
    found = overall(tmp_path, "vlmevalkit", questions=rows, predictions=["A", "A", "B"])
    assert (found["n_rows"], found["hits"]) == (2, {"1": 1, "3": 0})
    assert found["dropped"] == {"rows without image": 1}
    errors = capsys.readouterr().err
    assert "mmmb_en.tsv: dropped as VLMEvalKit does: rows without image: 1" in errors
    assert "not scored under parrot: " in errors and "row 3, column 'image'" in errors


def test_a_category_has_the_kits_short_name_under_its_protocol(tmp_path: Path) -> None:
    rows = [ask(1, category="logic_reasoning") | {"l2-category": "attribute_reasoning"}]
    given = {"questions": rows, "predictions": ["A"]}
    kits, ours = overall(tmp_path, "vlmevalkit", **given), overall(tmp_path, "parrot", **given)
    assert (kits["category"], kits["l2_category"]) == ({"LR": 1.0}, {"AR": 1.0})
    assert (ours["category"], ours["l2_category"]) == (
        {"logic_reasoning": 1.0},
        {"attribute_reasoning": 1.0},
    )


@pytest.mark.parametrize("protocol", EXTRACTORS)
def test_the_command_line_takes_every_protocol(tmp_path: Path, protocol: str) -> None:
    tsvs, tables = write_pair(tmp_path, [ask(1)], ["A"])
    output = tmp_path / "report.json"
    main(["score", str(tsvs), str(tables), "--protocol", protocol, "--output", str(output)])
    assert json.loads(output.read_text())["protocol"] == protocol
