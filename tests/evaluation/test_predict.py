"""Inference that is killed, shared and repeated, and what stops it."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from flat_world import LANGUAGES, make_questions, speed, write_tsv

from parrot.config import Evaluate
from parrot.errors import ParrotError
from parrot.evaluation import predict as stage
from parrot.evaluation.inference import workers


def killed_after(count: int) -> Callable[..., Iterator[Any]]:
    """`answer_chunks` that ends without warning after some chunks."""

    def answer(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield from islice(workers.answer_chunks(*arguments, **options), count)
        raise KeyboardInterrupt

    return answer


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
