"""Hits, groups, pairs and splits, and benchmarks by configuration."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from scoring_files import Cells, ask, image, rotations, write_pair

from parrot.cli import main
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.suites import load_suites
from parrot.evaluation.scoring.score import score

PROTOCOLS = ("parrot", "vlmevalkit", "vlmevalkit-2024")


def run(
    folder: Path, rows: list[Cells], answers: list[str], name: str = "mmmb_en.tsv", protocol: str = "parrot"
) -> dict[str, Any]:
    tsvs, tables = write_pair(folder, rows, answers, name)
    report = score(tsvs, tables, protocol=protocol, output=folder / "report.json")
    (suite,) = report.keys() - {"protocol"}
    return report[suite]["en"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_plain_file_is_scored_row_by_row(tmp_path: Path, protocol: str) -> None:
    rows = [ask(1), ask(2, category="shape"), ask(3, category="shape", answer="B"), ask(4)]
    found = run(tmp_path, rows, ["A", "B", "B", "no idea"], protocol=protocol)
    assert (found["dataset"], found["mode"], found["split"]) == ("MMMB_en", "vanilla", "none")
    assert (found["n_rows"], found["n_scored"], found["overall"]) == (4, 4, 0.5)
    assert found["category"] == {"colour": 0.5, "shape": 0.5}
    assert found["l2_category"] == {}
    assert found["hits"] == {"1": 1, "2": 0, "3": 1, "4": 0}
    assert found["extracted"] == {"1": "A", "2": "B", "3": "B", "4": None}
    assert found["unreadable"] == 0.25
    assert found["published"] is False
    assert json.loads((tmp_path / "report.json").read_text())["MMMB"]["en"] == found


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_circular_question_is_right_only_if_every_rotation_is(tmp_path: Path, protocol: str) -> None:
    rows = [*rotations(1, ["red", "blue"], "red"), *rotations(2, ["red", "blue"], "blue", category="shape")]
    right = [row["answer"] for row in rows]
    for wrong, hits in ((None, {"1": 1, "2": 1}), (1, {"1": 0, "2": 1}), (2, {"1": 1, "2": 0})):
        answers = ["no idea" if place == wrong else answer for place, answer in enumerate(right)]
        found = run(tmp_path, rows, answers, "mmbench_dev_en.tsv", protocol)
        assert (found["mode"], found["n_rows"], found["n_scored"]) == ("circular", 4, 2)
        assert found["hits"] == hits
        assert found["category"] == {"colour": hits["1"], "shape": hits["2"]}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_groups_follow_g_index_where_it_is_there(tmp_path: Path, protocol: str) -> None:
    rows = [ask(1, g_index=1), ask(2, g_index=1, A="blue", B="red", answer="B"), ask(3, g_index=3)]
    found = run(tmp_path, rows, ["A", "A", "A"], "mmbench_dev_en.tsv", protocol)
    assert found["hits"] == {"1": 0, "3": 1}


def test_several_splits_are_scored_apart_and_together(tmp_path: Path) -> None:
    rows = [ask(1, split="dev"), ask(2, split="test"), ask(3, split="test", category="shape")]
    found = run(tmp_path, rows, ["A", "B", "A"])
    assert (found["split"], found["overall"]) == ("all", pytest.approx(2 / 3))
    assert found["splits"] == {
        "dev": {"overall": 1.0, "category": {"colour": 1.0}, "l2_category": {}},
        "test": {"overall": 0.5, "category": {"colour": 0.0, "shape": 1.0}, "l2_category": {}},
    }
    single = run(tmp_path, [row | {"split": "dev"} for row in rows], ["A", "B", "A"])
    assert single["split"] == "dev" and "splits" not in single


def pair(index: int, picture: int | str, answer: str, **cells: Any) -> Cells:
    given = picture if isinstance(picture, str) else image(picture)
    return ask(index, image=given, answer=answer, **({"A": "Yes", "B": "No"} | cells))


@pytest.mark.parametrize(
    ("other", "answers", "expected"),
    [
        (pair(2, 1, "B"), ["Yes", "No"], (1, 1.0)),
        (pair(2, 1, "B"), ["Yes", "Yes"], (1, 0.0)),
        (pair(2, "1", "B"), ["Yes", "No"], (1, 1.0)),
        (pair(2, 1, "A", A="No", B="Yes"), ["A", "A"], (1, 1.0)),
        (pair(2, 1, "A"), ["Yes", "Yes"], (0, None)),
        (pair(2, 2, "B"), ["Yes", "No"], (0, None)),
        (pair(2, 1, "B", category="shape"), ["Yes", "No"], (0, None)),
        (pair(2, 1, "B", C="Maybe"), ["Yes", "No"], (0, None)),
        (pair(2, 1, "B", A="yes"), ["Yes", "No"], (0, None)),
    ],
    ids=["both right", "one right", "picture by reference", "other order", "same answer", "other picture",
         "other category", "third option", "other text"],
)  # fmt: skip
def test_pairs_of_opposite_questions(
    tmp_path: Path, other: Cells, answers: list[str], expected: tuple[int, float | None]
) -> None:
    found = run(tmp_path, [pair(1, 1, "A"), other], answers)
    assert found["paired"] == {"pairs": expected[0], "accuracy": expected[1]}


def test_only_our_own_protocol_counts_pairs(tmp_path: Path) -> None:
    assert "paired" not in run(tmp_path, [ask(1)], ["A"], protocol="vlmevalkit")


def test_the_table_gives_our_accuracy_and_the_kits_and_what_was_unreadable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tsvs, tables = write_pair(tmp_path, [ask(1), ask(2), ask(3)], ["A", "a", "Answer: a or b"])
    output = tmp_path / "report.json"
    main(["score", str(tsvs), str(tables), "--output", str(output), "--protocol", "vlmevalkit-2024"])
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["suite", "language", "scored", "vlmevalkit-2024", "parrot", "vlmevalkit",
                              "unreadable"]  # fmt: skip
    assert line.split() == ["MMMB", "en", "3", "33.3%", "66.7%", "33.3%", "66.7%"]
    assert json.loads(output.read_text())["protocol"] == "vlmevalkit-2024"


def write_suites(path: Path, **changes: Any) -> Path:
    suite = {"file": "animals_{language}.tsv", "dataset": "Animals_{language}", "circular": True}
    path.write_text(json.dumps({"Animals": suite | {"languages": ["en", "fi"]} | changes}))  # JSON is YAML
    return path


def test_a_new_benchmark_in_a_new_language_is_scored_by_configuration_alone(tmp_path: Path) -> None:
    rows = rotations(3, ["kissa", "koira", "hevonen"], "koira")
    tsvs, tables = write_pair(tmp_path, rows, ["Koira.", "A", "C"], name="animals_fi.tsv")
    md5 = hashlib.md5((tsvs / "animals_fi.tsv").read_bytes()).hexdigest()
    benchmarks = write_suites(tmp_path / "benchmarks.yaml", md5={"fi": md5})
    arguments = ["score", str(tsvs), str(tables), "--output", str(tmp_path / "report.json")]
    main([*arguments, "--benchmarks", str(benchmarks)])
    report = json.loads((tmp_path / "report.json").read_text())
    found = report["Animals"]["fi"]
    assert (found["dataset"], found["mode"], found["overall"]) == ("Animals_fi", "circular", 1.0)
    assert found["published"] is True
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert "animals_fi.tsv: no suite names this file" in str(stop.value.code)


def test_a_published_file_is_taken_as_it_is(tmp_path: Path) -> None:
    rows = rotations(3, ["kissa", "koira"], "koira")
    rows[1]["B"] = "kissat"
    tsvs, tables = write_pair(tmp_path, rows, ["B", "A"], name="animals_fi.tsv")
    md5 = hashlib.md5((tsvs / "animals_fi.tsv").read_bytes()).hexdigest()
    chosen = {"protocol": "parrot", "output": tmp_path / "report.json"}
    benchmarks = write_suites(tmp_path / "benchmarks.yaml", md5={"fi": md5})
    assert score(tsvs, tables, benchmarks=benchmarks, **chosen)["Animals"]["fi"]["overall"] == 1.0
    write_suites(tmp_path / "benchmarks.yaml")
    with pytest.raises(ParrotError, match="row 3, column 'A': the options are not those of row 2"):
        score(tsvs, tables, benchmarks=benchmarks, **chosen)


def test_files_of_a_suite_that_are_absent_are_not_scored(tmp_path: Path) -> None:
    write_pair(tmp_path, [ask(1)], ["A"], name="mmmb_tr.tsv")
    rows = rotations(1, ["cat", "dog"], "cat")
    tsvs, tables = write_pair(tmp_path, rows, ["A", "A"], name="mmbench_dev_cn.tsv")
    report = score(tsvs, tables, protocol="parrot", output=tmp_path / "report.json")
    assert {suite: list(found) for suite, found in report.items() if suite != "protocol"} == {
        "MMMB": ["tr"],
        "MTL_MMBench_DEV": ["cn"],
    }


def test_the_known_suites_load() -> None:
    suites = load_suites()
    assert list(suites) == ["MMMB", "MTL_MMBench_DEV"]
    for suite in suites.values():
        assert set(suite.md5) == set(suite.languages)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"file": "animals.tsv"}, "Animals.file: String should match pattern"),
        ({"circular": "yes"}, "Animals.circular: Input should be a valid boolean"),
        ({"languages": []}, "Animals.languages: List should have at least 1 item"),
        ({"md5": {"no": 32 * "0"}}, "Animals: Value error, md5 names no, which is not in languages"),
        ({"md5": {"en": "123"}}, "Animals.md5.en: String should match pattern"),
        ({"colour": "red"}, "Animals.colour: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_suite_is_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    path = write_suites(tmp_path / "benchmarks.yaml", **changes)
    with pytest.raises(ParrotError) as error:
        load_suites(path)
    assert str(error.value).startswith(f"{path}: {problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "not readable as YAML"),
        ("- a", "Input should be a valid dictionary"),
        ("", "Input should be"),
    ],
)
def test_a_file_that_holds_no_suites_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "benchmarks.yaml"
    with pytest.raises(ParrotError, match="cannot be read"):
        load_suites(path)
    path.write_text(text)
    with pytest.raises(ParrotError, match=problem):
        load_suites(path)


def test_a_file_name_of_two_suites_is_refused(tmp_path: Path) -> None:
    path = write_suites(tmp_path / "benchmarks.yaml")
    suites = json.loads(path.read_text())
    path.write_text(json.dumps(suites | {"More animals": suites["Animals"]}))
    with pytest.raises(ParrotError, match=r"the file name animals_en\.tsv belongs to two entries"):
        load_suites(path)
