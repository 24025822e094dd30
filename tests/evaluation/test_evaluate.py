import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flat_world import WORDS, Reader, make_questions, write_tsv
from PIL import Image

from parrot.config import Evaluate
from parrot.errors import ParrotError
from parrot.evaluation import evaluate as stage
from parrot.evaluation.evaluate import evaluate

LANGUAGES = list(WORDS)


@pytest.fixture
def run(params: Evaluate, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def evaluated(
        params: Evaluate = params, languages: list[str] = LANGUAGES, model: str = "model", to: str = "out"
    ) -> dict[str, Any]:
        folder = tmp_path / to
        return evaluate(
            params,
            languages,
            seed=1,
            model_dir=tmp_path / model,
            metrics=folder / "metrics.json",
            predictions=folder / "predictions.jsonl",
            plots=folder / "plots",
        )

    return evaluated


@pytest.fixture
def seeing(monkeypatch: pytest.MonkeyPatch, reader: Reader, processor: Any) -> None:
    """The stage loads the model that reads the pictures."""
    monkeypatch.setattr(stage, "load_model", lambda folder: (reader, processor))


@pytest.mark.usefixtures("seeing")
def test_metrics_predictions_and_table(
    run: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = run()
    right, guessed = {"en": 1.0, "zh": 1.0, "overall": 1.0}, {"en": 0.25, "zh": 0.25, "overall": 0.25}
    assert metrics == {
        "accuracy": right,
        "blind": guessed,
        "letter": guessed,
        "chance": 0.25,
        "protocol": "option_likelihood",
        "prompts": {"option_likelihood": "1", "letter_likelihood": "1"},
        "questions": 64,
        "category": {"colour": right, "binding": right},
    }
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == metrics
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines[:32]] == [question.index for question in make_questions("en")]
    assert lines[0].keys() == {"language", "index", "category", "answer", "seeing", "blind", "letter"}
    assert lines[0]["seeing"]["hit"] and lines[0]["seeing"]["choice"] == lines[0]["answer"]
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["en", "100.0", "25.0", "25.0"]
    assert table[-1].split() == ["chance", "25.0", "25.0", "25.0"]
    assert len({len(line) for line in table}) == 1


@pytest.mark.usefixtures("seeing")
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


def test_a_saved_model_is_loaded_and_gives_the_same_bytes_again(
    run: Callable[..., dict[str, Any]], tmp_path: Path, tiny_model: Any, processor: Any
) -> None:
    tiny_model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    metrics = run(to="one")
    assert run(to="two") == metrics
    assert all(0 <= share <= 0.75 for share in metrics["accuracy"].values())
    one, two = tmp_path / "one", tmp_path / "two"
    files = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    plots = ["accuracy", "experts"] if hasattr(tiny_model.config, "num_experts") else ["accuracy"]
    expected = [f"plots/{name}.{kind}" for name in plots for kind in ("csv", "png")]
    assert files == ["metrics.json", *expected, "predictions.jsonl"]
    for name in files:
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_no_model(run: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(ParrotError, match="nowhere: holds no model"):
        run(model="nowhere")


def test_a_language_without_file_name(run: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(ParrotError, match=r"params\.yaml: evaluate\.files: no benchmark file for 'ru'"):
        run(languages=["en", "ru"])


def test_a_language_whose_file_is_missing(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "mmmb/mmmb_zh.tsv").unlink()
    with pytest.raises(ParrotError, match=r"mmmb_zh\.tsv: not found; run `parrot data`"):
        run()


def test_a_language_without_a_category(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    questions = [question for question in make_questions("zh") if question.category != "binding"]
    write_tsv(tmp_path / "mmmb/mmmb_zh.tsv", questions)
    with pytest.raises(ParrotError, match=r"mmmb_zh\.tsv: no question of category binding"):
        run()


def test_a_language_without_questions(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    write_tsv(tmp_path / "mmmb/mmmb_zh.tsv", [])
    with pytest.raises(ParrotError, match=r"mmmb_zh\.tsv: "):
        run()
