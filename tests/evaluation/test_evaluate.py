"""What predictions are found to be worth: metrics, tables, plots, and predictions for something else."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flat_world import LANGUAGES, WORDS, make_questions, write_tsv
from PIL import Image

from parrot.config import Evaluate
from parrot.errors import ParrotError
from parrot.evaluation.evaluate import evaluate
from parrot.evaluation.scoring.exchange import find_predictions
from parrot.evaluation.scoring.score import score

pytestmark = pytest.mark.usefixtures("seeing")


def write_rotated(folder: Path) -> None:
    """A benchmark of which each question is asked in every rotation of its options."""
    for language in LANGUAGES:
        rotated = []
        for question in make_questions(language, 8):
            texts, right = list(question.options.values()), question.options[question.answer]
            for turn in range(4):
                options = dict(zip("ABCD", texts[turn:] + texts[:turn], strict=True))
                answer = next(letter for letter, text in options.items() if text == right)
                index = question.index + turn * 1_000_000
                rotated.append(replace(question, index=index, options=options, answer=answer))
        write_tsv(folder / f"mmmb_{language}.tsv", rotated)


@pytest.mark.parametrize("circular", [False, True])
def test_score_reads_what_evaluate_writes(
    run: Callable[..., dict[str, Any]], tmp_path: Path, params: Evaluate, circular: bool
) -> None:
    if circular:
        write_rotated(tmp_path / "mmmb")
    metrics = run(params.model_copy(update={"circular": circular}))
    suite = {"file": "mmmb_{language}.tsv", "dataset": "MMMB_{language}", "circular": circular}
    suites = tmp_path / "benchmarks.yaml"
    suites.write_text(json.dumps({"MMMB": suite | {"languages": LANGUAGES}}))  # JSON is YAML
    for protocol in ("parrot", "vlmevalkit"):
        report = score(
            tmp_path / "mmmb",
            tmp_path / "out/evaluation",
            protocol=protocol,
            output=tmp_path / "report.json",
            benchmarks=suites,
        )
        found = {language: round(report["MMMB"][language]["overall"], 4) for language in LANGUAGES}
        assert found == {name: metrics["written"][protocol][name] for name in LANGUAGES}
    tsv = tmp_path / "mmmb/mmmb_en.tsv"
    tsv.write_text(tsv.read_text() + "\n")
    with pytest.raises(
        ParrotError, match=r"mmmb_en\.tsv: not the file of this name that the model was asked"
    ):
        find_predictions(tmp_path / "out/evaluation", tsv)
    with pytest.raises(ParrotError, match=r"other_en\.tsv was not asked, but mmmb_en\.tsv"):
        find_predictions(tmp_path / "out/evaluation", tmp_path / "other_en.tsv")


def test_metrics_predictions_and_table(
    run: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = run()
    right, guessed = {"en": 1.0, "zh": 1.0, "overall": 1.0}, {"en": 0.25, "zh": 0.25, "overall": 0.25}
    four_pictures = {name: {"low": 0.397635, "high": 1.0} for name in right}
    written = metrics.pop("written")
    assert written.keys() == {"parrot", "vlmevalkit"} and written["parrot"].keys() == right.keys()
    assert metrics.pop("unreadable").keys() == metrics.pop("eyes").keys() == right.keys()
    assert metrics == {
        "accuracy": right,
        "blind": guessed,
        "letter": guessed,
        "interval": four_pictures,
        "chance": 0.25,
        "protocol": "option_likelihood",
        "prompts": {"option_likelihood": "1", "letter_likelihood": "1", "letter_generation": "1"},
        "questions": 64,
        "category": {"colour": right, "binding": right},
        "l2_category": {},
        "paired": {},
    }
    assert json.loads((tmp_path / "out/metrics.json").read_text())["accuracy"] == right
    text = (tmp_path / "out/evaluation/predictions.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["index"] for line in lines[:32]] == [question.index for question in make_questions("en")]
    known = {"language", "index", "category", "answer", "cluster"}
    assert lines[0].keys() == known | {"seeing", "blind", "letter", "written"}
    assert lines[0]["seeing"]["hit"] and lines[0]["seeing"]["choice"] == lines[0]["answer"]
    table = capsys.readouterr().out.splitlines()
    assert table[1].split()[:6] == ["en", "100.0", "[39.8,", "100.0]", "25.0", "+75.0"]
    assert table[4] == "chance is 25.0%"
    assert "the picture may not help" in table[5]  # four pictures are too few to tell


def test_rotations_must_all_be_right(
    run: Callable[..., dict[str, Any]], params: Evaluate, tmp_path: Path
) -> None:
    write_rotated(tmp_path / "mmmb")
    metrics = run(params.model_copy(update={"circular": True}))
    assert metrics["questions"] == 16
    assert metrics["accuracy"]["overall"] == 1.0
    assert metrics["blind"]["overall"] == 0.0  # a guess is right in one rotation of four


def test_answers_without_options_must_be_the_right_one_and_in_the_language_of_the_question(
    run: Callable[..., dict[str, Any]], params: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "free" not in run()
    params = params.model_copy(update={"free": True})
    run(params)
    file = tmp_path / "out/predictions/predictions.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert all(row["free"].keys() == {"text"} for row in rows)
    questions = {(code, one.index): one for code in LANGUAGES for one in make_questions(code)}
    for number, row in enumerate(rows):
        question = questions[row["language"], row["index"]]
        right = question.options[question.answer]
        other = WORDS["zh" if row["language"] == "en" else "en"][0]
        wrong = next(text for text in question.options.values() if text != right)
        row["free"]["text"] = (f"{right.upper()}.", f"It is {right}.", wrong, other)[number % 4]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    capsys.readouterr()
    found = evaluate(
        params, LANGUAGES, predictions=file.parent, reports=out / "evaluation", plots=out / "plots",
        metrics=out / "metrics.json",
    )  # fmt: skip
    assert found["mmmb/free"] == {"en": 0.25, "zh": 0.25, "overall": 0.25}
    assert found["mmmb/free_language"] == {"en": 0.6667, "zh": 0.6667, "overall": 0.6667}
    assert found["mmmb/prompts"]["free_generation"] == "1"
    head, english, *_ = capsys.readouterr().out.splitlines()
    assert head.split()[-1] == "free" and english.split()[-1] == "25.0"


def test_plots_and_the_tables_behind_them(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run()
    plots = tmp_path / "out/plots"
    assert sorted(path.name for path in plots.iterdir()) == [
        "accuracy.csv",
        "accuracy.png",
        "experts.csv",
        "experts.png",
    ]
    for name in ("accuracy.png", "experts.png"):
        with Image.open(plots / name) as image:
            assert min(image.size) > 100 and len(image.convert("RGB").getcolors(100_000)) > 10
    with (plots / "accuracy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"language": "en", "category": "colour", "accuracy": "1.0", "blind": "0.25"}
    assert len(rows) == 4
    with (plots / "experts.csv").open(newline="") as file:
        weights = [(row["language"], row["expert"], row["weight"]) for row in csv.DictReader(file)]
    assert weights[:3] == [("en", "1", "0.5"), ("en", "2", "0.25"), ("en", "3", "0.25")]


def test_evaluate_refuses_predictions_that_are_not_for_this_benchmark(
    run: Callable[..., dict[str, Any]], params: Evaluate, tmp_path: Path
) -> None:
    run()

    def again(params: Evaluate = params, languages: list[str] = LANGUAGES) -> None:
        out = tmp_path / "out"
        paths = {"reports": out / "evaluation", "plots": out / "plots", "metrics": out / "metrics.json"}
        evaluate(params, languages, predictions=out / "predictions", **paths)

    again()
    with pytest.raises(ParrotError, match="made for other files than those of"):
        again(languages=["en"])
    with pytest.raises(ParrotError, match=r"mmmb_en\.tsv: asks no question in several rotations"):
        again(params.model_copy(update={"circular": True}))
    lines = tmp_path / "out/predictions/predictions.jsonl"
    whole = lines.read_text()
    lines.write_text("".join(whole.splitlines(keepends=True)[1:]))
    with pytest.raises(ParrotError, match="question 100 in 'en': not all its answers are there"):
        again()
    lines.write_text(whole.replace('"choice"', '"letter"', 1).replace('"text"', '"texts"', 1))
    with pytest.raises(ParrotError, match="question 100 in 'en': not all its answers are there"):
        again()
    lines.write_text(whole + whole.splitlines(keepends=True)[0])
    with pytest.raises(ParrotError, match=r"predictions\.jsonl: line 65: question 100 in 'en' is already in"):
        again()
    lines.write_text(whole)
    tsv = tmp_path / "mmmb/mmmb_en.tsv"
    tsv.write_text(tsv.read_text() + "\n")
    with pytest.raises(ParrotError, match="made for other files"):
        again()
