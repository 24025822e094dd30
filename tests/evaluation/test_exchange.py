"""Tables of predictions that VLMEvalKit writes and reads."""

from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scoring_files import ask, write_pair

from parrot.data.tsv import read_rows
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks import suites
from parrot.evaluation.benchmarks.mmmb import REQUIRED
from parrot.evaluation.benchmarks.suites import BenchmarkFile, Suite, find_files
from parrot.evaluation.scoring import exchange
from parrot.evaluation.scoring.exchange import read_predictions, write_vlmevalkit_table
from parrot.evaluation.scoring.score import score

ANSWERS = {1: 'a "b"\tc\nd', 2: "", 7: "答案是B"}


def test_a_kit_table_has_all_columns_and_the_prediction_and_is_scored(tmp_path: Path) -> None:
    rows = [ask(index) for index in ANSWERS]
    tsvs, tables = write_pair(tmp_path, rows, list(ANSWERS.values()))
    chosen: dict[str, Any] = {"protocol": "vlmevalkit", "output": tmp_path / "report.json"}
    before = score(tsvs, tables, **chosen)
    path = tables / "mmmb_en.tsv"
    write_vlmevalkit_table(path, (cells for _, cells in read_rows(tsvs / "mmmb_en.tsv", REQUIRED)), ANSWERS)
    assert read_predictions(path, ANSWERS) == ANSWERS
    assert score(tsvs, tables, **chosen) == before
    frame = pd.read_csv(path, sep="\t", keep_default_na=False)
    assert list(frame) == [*rows[0], "prediction"]
    assert frame["prediction"].tolist() == list(ANSWERS.values())
    assert frame["image"].tolist() == [row["image"] for row in rows]


def test_a_kit_table_needs_a_prediction_for_every_row(tmp_path: Path) -> None:
    path = tmp_path / "out.tsv"
    cells = {"index": "3", "question": "?"}
    with pytest.raises(ParrotError, match=r"out\.tsv: column 'index': no prediction for question 3; add it"):
        write_vlmevalkit_table(path, [cells], {})
    with pytest.raises(ParrotError, match=r"out\.tsv: no row to write"):
        write_vlmevalkit_table(path, [], {})
    assert not path.exists()


def file_of(suite: str, language: str, circular: bool) -> BenchmarkFile:
    return BenchmarkFile(Path("a.tsv"), suite, language, suite, circular, None)


def test_names_for_the_kit_are_our_own_and_keep_language_and_circularity() -> None:
    for suite, circular in (("MMMB", False), ("MTL_MMBench_DEV", True), ("Animals", True)):
        name = file_of(suite, "tr", circular).vlmevalkit_name
        assert name.startswith("Parrot_") and name[-3:] == "_tr"
        assert any(word in name.lower() for word in suites.VLMEVALKIT_CIRCULAR) == circular
    with pytest.raises(ParrotError, match="would take Parrot_MMBench_plain_en for circular"):
        _ = file_of("MMBench_plain", "en", circular=False).vlmevalkit_name


def test_a_workbook_without_openpyxl_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "find_spec", lambda name: None)
    with pytest.raises(ParrotError, match=r"a\.xlsx: reading \.xlsx needs the package openpyxl; install it"):
        read_predictions(tmp_path / "a.xlsx", ANSWERS)


def test_a_workbook_is_read_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = pd.DataFrame({"index": ["1", "2"], "question": ["?", "?"], "prediction": ["7", "NA"]})

    def read_excel(path: Path, dtype: type, keep_default_na: bool) -> pd.DataFrame:
        assert dtype is str and not keep_default_na
        return sheet

    monkeypatch.setattr(exchange, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setattr(pd, "read_excel", read_excel)
    assert read_predictions(tmp_path / "a.xlsx", [1, 2]) == {1: "7", 2: "NA"}
    sheet = sheet.drop(columns="prediction")
    with pytest.raises(ParrotError, match="column 'prediction' is missing; the file has index, question"):
        read_predictions(tmp_path / "a.xlsx", [1, 2])


def test_a_broken_workbook_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "find_spec", lambda name: ModuleSpec(name, None))
    (tmp_path / "a.xlsx").write_text("no workbook")
    with pytest.raises(ParrotError, match=r"a\.xlsx: not readable as a workbook"):
        read_predictions(tmp_path / "a.xlsx", ANSWERS)


def test_two_tables_for_one_file_are_refused(tmp_path: Path) -> None:
    tsvs, tables = write_pair(tmp_path, [ask(1)], ["A"])
    (tables / "mmmb_en.xlsx").touch()
    with pytest.raises(ParrotError, match=r"mmmb_en\.xlsx: stands beside mmmb_en\.tsv"):
        score(tsvs, tables, protocol="parrot", output=tmp_path / "report.json")


def test_files_are_found_by_their_pattern(tmp_path: Path) -> None:
    (tmp_path / "a_fi.tsv").touch()
    suite = Suite(file="a_{language}.tsv", dataset="A_{language}", circular=False, languages=["en", "fi"])
    (found,) = find_files(tmp_path, {"A": suite})
    assert (found.path, found.language, found.dataset) == (tmp_path / "a_fi.tsv", "fi", "A_fi")
    assert found.published is None
