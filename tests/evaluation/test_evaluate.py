import csv
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from flat_world import WORDS, Reader, make_questions, write_tsv
from PIL import Image

from parrot.config import Evaluate, Speed
from parrot.errors import ParrotError
from parrot.evaluation import predict as stage
from parrot.evaluation.evaluate import evaluate
from parrot.evaluation.inference import workers
from parrot.evaluation.inference.prompts import protocols
from parrot.evaluation.predict import predict
from parrot.evaluation.scoring.exchange import find_predictions
from parrot.evaluation.scoring.score import score

LANGUAGES = list(WORDS)


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights do not come to an end by themselves."""
    known = {
        name: replace(protocol, max_new_tokens=min(protocol.max_new_tokens, 6))
        for name, protocol in protocols().items()
    }
    monkeypatch.setattr(stage, "protocols", lambda: known)


def speed(batch_size: int = 5, processes: int = 1) -> Speed:
    return Speed(workers=0, inference_batch_size=batch_size, inference_processes=processes)


@pytest.fixture
def run(params: Evaluate, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def evaluated(
        params: Evaluate = params,
        languages: list[str] = LANGUAGES,
        model: str = "model",
        to: str = "out",
        speed: Speed = speed(),  # noqa: B008
    ) -> dict[str, Any]:
        """Both stages."""
        folder, work = tmp_path / to, tmp_path / "work"
        predictions = folder / "predictions"
        predict(params, languages, 1, speed, model=tmp_path / model, output=predictions, work=work)
        shutil.rmtree(work)  # as who runs the stage does
        found = evaluate(
            params,
            languages,
            predictions=predictions,
            metrics=folder / "metrics.json",
            reports=folder / "evaluation",
            plots=folder / "plots",
        )
        metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
        assert found == {f"mmmb/{name}": value for name, value in metrics.items()}
        return metrics

    return evaluated


@pytest.fixture
def seeing(monkeypatch: pytest.MonkeyPatch, reader: Reader, processor: Any) -> None:
    """The stage loads the model that reads the pictures."""
    monkeypatch.setattr(stage, "load_processor", lambda folder: processor)
    monkeypatch.setattr(workers, "load_model", lambda folder, number: (reader, processor))


@pytest.mark.usefixtures("seeing")
@pytest.mark.parametrize("circular", [False, True])
def test_score_reads_what_evaluate_writes(
    run: Callable[..., dict[str, Any]], tmp_path: Path, params: Evaluate, circular: bool
) -> None:
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


@pytest.mark.usefixtures("seeing")
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


def killed_after(count: int) -> Callable[..., Iterator[Any]]:
    """`answer_chunks` that ends without warning after some chunks."""

    def answer(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield from islice(workers.answer_chunks(*arguments, **options), count)
        raise KeyboardInterrupt

    return answer


@pytest.fixture
def saved(tmp_path: Path, tiny_model: Any, processor: Any) -> None:
    tiny_model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")


def outputs(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("processor", ["parrot"], indirect=True)
@pytest.mark.usefixtures("saved")
def test_a_run_killed_three_times_ends_in_the_same_files(
    run: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = speed(batch_size=2)  # four chunks
    run(speed=small, to="whole")
    for _ in range(3):
        monkeypatch.setattr(stage, "answer_chunks", killed_after(1))
        with pytest.raises(KeyboardInterrupt):
            run(speed=small, to="killed")
        (journal,) = (tmp_path / "work").iterdir()
        with journal.open("ab") as file:
            file.write(b'[{"language": "en", "in')  # cut off while it was written
    chunks = []

    def answer(*arguments: Any, **options: Any) -> Iterator[Any]:
        chunks.extend(arguments[2])
        yield from workers.answer_chunks(*arguments, **options)

    monkeypatch.setattr(stage, "answer_chunks", answer)
    run(speed=small, to="killed")
    assert len(chunks) == 1
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")


@pytest.mark.parametrize("processor", ["parrot"], indirect=True)
@pytest.mark.usefixtures("saved")
def test_processes_and_batch_size_change_no_byte(
    run: Callable[..., dict[str, Any]], params: Evaluate, tmp_path: Path
) -> None:
    chosen = params.model_copy(update={"blind": "swapped"})
    run(chosen, to="0")
    for number, quick in enumerate([speed(2, 2), speed(32)], start=1):
        run(chosen, to=str(number), speed=quick)
        assert outputs(tmp_path / str(number)) == outputs(tmp_path / "0")


@pytest.mark.usefixtures("seeing")
def test_rotations_must_all_be_right(
    run: Callable[..., dict[str, Any]], params: Evaluate, tmp_path: Path, reader: Reader
) -> None:
    for language in LANGUAGES:
        rotated = []
        for question in make_questions(language, 8):
            texts, right = list(question.options.values()), question.options[question.answer]
            for turn in range(4):
                options = dict(zip("ABCD", texts[turn:] + texts[:turn], strict=True))
                answer = next(letter for letter, text in options.items() if text == right)
                index = question.index + turn * 1_000_000
                rotated.append(replace(question, index=index, options=options, answer=answer))
        write_tsv(tmp_path / f"mmmb/mmmb_{language}.tsv", rotated)
    metrics = run(params.model_copy(update={"circular": True}))
    assert metrics["questions"] == 16
    assert metrics["accuracy"]["overall"] == 1.0
    assert metrics["blind"]["overall"] == 0.0  # a guess is right in one rotation of four


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


@pytest.mark.usefixtures("saved")
def test_a_saved_model_is_loaded_and_gives_the_same_bytes_again(
    run: Callable[..., dict[str, Any]], tmp_path: Path, tiny_model: Any
) -> None:
    metrics = run(to="one")
    assert run(to="two") == metrics
    assert all(0 <= share <= 0.75 for share in metrics["accuracy"].values())
    one, two = tmp_path / "one", tmp_path / "two"
    files = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    plots = ["accuracy", "experts"] if hasattr(tiny_model.config, "num_experts") else ["accuracy"]
    expected = [f"plots/{name}.{kind}" for name in plots for kind in ("csv", "png")]
    tables = [f"vlmevalkit/Parrot_mmmb_{language}.tsv" for language in LANGUAGES]
    folder = ["predictions.jsonl", "provenance.json", "report.html", "settings.json", *tables]
    predicted = ["experts.json", "predictions.jsonl", "provenance.json", "settings.json"]
    assert files == [
        *(f"evaluation/{name}" for name in folder),
        "metrics.json",
        *expected,
        *(f"predictions/{name}" for name in predicted),
    ]
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


@pytest.mark.usefixtures("seeing")
def test_evaluate_refuses_predictions_that_are_not_for_this_benchmark(
    run: Callable[..., dict[str, Any]], params: Evaluate, tmp_path: Path
) -> None:
    run()

    def again(params: Evaluate = params, languages: list[str] = LANGUAGES) -> None:
        out = tmp_path / "out"
        paths = {"reports": out / "evaluation", "plots": out / "plots", "metrics": out / "metrics.json"}
        evaluate(params, languages, predictions=out / "predictions", **paths)

    again()
    for other in (
        lambda: again(params.model_copy(update={"circular": True})),
        lambda: again(languages=["en"]),
    ):
        with pytest.raises(ParrotError, match="made for other files than those of"):
            other()
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
