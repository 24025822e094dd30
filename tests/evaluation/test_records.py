import json
from pathlib import Path
from typing import Any

import pytest
from folders import row, write_evaluation

from parrot.errors import ParrotError
from parrot.evaluation.samples import Answer, grouped, read_evaluation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_evaluation(tmp_path / "evaluation", lambda language, run, index: run == "seeing")


def add_line(folder: Path, line: str) -> None:
    with (folder / "predictions.jsonl").open("a", encoding="utf-8") as file:
        file.write(line)


def test_an_evaluation_is_read_in_the_order_of_its_file(folder: Path) -> None:
    evaluation = read_evaluation(folder)
    assert evaluation.runs == ["seeing", "blind"]
    assert [one.key for one in evaluation.samples[39:41]] == [("en", 39), ("zh", 0)]
    assert evaluation.samples[3].question.cluster == "1"
    assert evaluation.samples[3].answers["blind"] == Answer(choice=None, text=None, hit=False)
    assert evaluation.samples[3].answers["seeing"].hit
    assert list(grouped(evaluation.samples, lambda one: one.question.category)) == ["colour", "count"]


def test_an_answer_may_hold_odd_line_separators(folder: Path) -> None:
    line = row("en", 99, lambda *_: False)
    line["seeing"]["text"] = "one\u2028two\x85three"
    add_line(folder, json.dumps(line, ensure_ascii=False))
    assert read_evaluation(folder).samples[-1].answers["seeing"].text == "one\u2028two\x85three"


@pytest.mark.parametrize("file", ["settings.json", "predictions.jsonl"])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(ParrotError, match=f"evaluation: no evaluation \\({file} is missing\\)"):
        read_evaluation(folder)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 81: no JSON"),
        ("\n", "line 81: no JSON"),
        ("[]", "line 81: no JSON object"),
    ],
)
def test_a_broken_line_is_named(folder: Path, line: str, told: str) -> None:
    add_line(folder, line)
    with pytest.raises(ParrotError, match=f"predictions.jsonl: {told}"):
        read_evaluation(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"index": "7"}, "line 81: 'index' cannot be \"7\""),
        ({"index": True}, "line 81: 'index' cannot be true"),
        ({"cluster": None}, "line 81: 'cluster' cannot be null"),
        ({"blind": {"choice": "A"}}, "line 81: blind: 'hit' is missing"),
        ({"blind": {"hit": False}}, "line 81: blind: 'choice' is missing"),
        ({"blind": {"choice": "A", "hit": 1}}, "line 81: blind: 'hit' cannot be 1"),
        ({"index": 7}, "line 81: question 7 in 'en' is already in line 8"),
    ],
)
def test_a_wrong_value_is_named(folder: Path, change: dict[str, Any], told: str) -> None:
    add_line(folder, json.dumps(row("en", 99, lambda *_: False) | change))
    with pytest.raises(ParrotError, match=told):
        read_evaluation(folder)


def test_a_missing_run_is_named(folder: Path) -> None:
    line = row("en", 99, lambda *_: False)
    del line["blind"]
    add_line(folder, json.dumps(line))
    with pytest.raises(ParrotError, match="line 81: 'blind' is missing"):
        read_evaluation(folder)


def test_nothing_asked_is_no_evaluation(folder: Path) -> None:
    (folder / "predictions.jsonl").write_text("")
    with pytest.raises(ParrotError, match="holds no question"):
        read_evaluation(folder)


def test_settings_without_prompts_are_refused(folder: Path) -> None:
    (folder / "settings.json").write_text('{"prompts": []}')
    with pytest.raises(ParrotError, match=r"settings\.json: 'prompts' names no run"):
        read_evaluation(folder)


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "predictions.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ParrotError, match=r"predictions\.jsonl: not UTF-8"):
        read_evaluation(folder)
