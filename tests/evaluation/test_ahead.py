"""What would stop the evaluation is found before anything is trained for it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from flat_world import LANGUAGES

from parrot.cli import main
from parrot.config import Evaluate
from parrot.errors import ParrotError
from parrot.evaluation.ahead import check_ahead

ROOT = Path(__file__).parents[2]
FOUND_AHEAD = "found ahead: `evaluate` would stop there after all training"


def refused(params: Evaluate, languages: list[str] = LANGUAGES) -> str:
    with pytest.raises(ParrotError) as error:
        check_ahead(params, languages, seed=1)
    assert FOUND_AHEAD in str(error.value)
    return str(error.value)


def test_a_benchmark_that_is_whole_passes(params: Evaluate) -> None:
    check_ahead(params, LANGUAGES, seed=1)
    check_ahead(params.model_copy(update={"blind": "swapped"}), LANGUAGES, seed=1)


def test_a_language_without_a_closing_line_is_found(params: Evaluate) -> None:
    files = params.files | {"fi": "mmmb_fi.tsv"}
    shutil.copy(Path(params.benchmark) / "mmmb_en.tsv", Path(params.benchmark) / "mmmb_fi.tsv")
    line = refused(params.model_copy(update={"files": files}), [*LANGUAGES, "fi"])
    assert "prompts.yaml: letter_likelihood.closing has no line for 'fi'; add it there" in line


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("", "", "mmmb_zh.tsv: not found"),
        ("category", "kind", "column 'category' is missing"),
        ("\n100\t", "\n1x0\t", "column 'index'"),
    ],
    ids=["file", "column", "row"],
)
def test_a_file_that_evaluate_could_not_read_is_found(
    params: Evaluate, old: str, new: str, problem: str
) -> None:
    path = Path(params.benchmark) / "mmmb_zh.tsv"
    content = path.read_text(encoding="utf-8")
    path.unlink()
    if old:
        assert old in content
        path.write_text(content.replace(old, new, 1), encoding="utf-8")
    assert problem in refused(params)


def test_a_picture_that_is_none_is_found(params: Evaluate) -> None:
    path = Path(params.benchmark) / "mmmb_en.tsv"
    header, first, *others = path.read_text().splitlines()
    cells = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    first = first.replace(cells["image"], "QUJD" * 40)
    path.write_text("\n".join([header, first, *others]) + "\n")
    assert "column 'image'" in refused(params)


@pytest.mark.parametrize("stage", ["align", "sft"])
def test_no_stage_trains_for_an_evaluation_that_would_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    tree: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["evaluate"]["benchmark"] = "nowhere"
    (tmp_path / "params.yaml").write_text(json.dumps(tree))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("parrot.pipeline.processes.end_with_parents", lambda: None)
    command = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["cmd"].split()
    with pytest.raises(SystemExit) as stop:
        main(command[1:])
    assert "nowhere/mmmb_en.tsv: not found" in str(stop.value.code)
    assert FOUND_AHEAD in str(stop.value.code)
