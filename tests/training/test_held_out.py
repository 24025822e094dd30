"""A model looked at while it is trained: on records that it does not see, until it gets no better."""

import base64
import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_stages import MODELS, TRAINING, WORDS, picture
from torch.utils.data import Subset
from written_mixtures import MixedRecord, write_mixture

from parrot.config import Evaluate, HeldOut, Sft, Training
from parrot.data.records import Image, Message
from parrot.data.shards import RecordDataset
from parrot.errors import ParrotError
from parrot.evaluation.ahead import first_questions
from parrot.loading import load_model, load_processor
from parrot.training.conversations import ConversationCollator
from parrot.training.evaluator import Evaluator
from parrot.training.held_out import ANSWERS, AskedQuestion, HeldOutEvaluation, hold_out, out_of_patience
from parrot.training.history import Metrics
from parrot.training.sft import sft
from parrot.training.trainer import ParameterGroup, TrainingRun, fit

QUESTIONS = [
    AskedQuestion("en", "Help.", "<image>\nWhat is it?", picture(0), "red"),
    AskedQuestion("tr", "Help.", "<image>\nBu ne?", picture(1), "yeşil"),
]


def test_held_out_records_are_drawn_once_and_in_no_sample_that_is_trained_on() -> None:
    records = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5])
    settings = HeldOut(every_steps=1, records=3)
    kept, held = hold_out(records, settings, 1)
    assert (kept, held) == hold_out(records, settings, 1)
    assert len({records[sample] for sample in held}) == len(held) == 3
    assert {records[sample] for sample in kept}.isdisjoint(records[sample] for sample in held)
    assert {*records[kept], *records[held]} == set(records)
    assert len({tuple(hold_out(records, settings, seed)[1]) for seed in range(9)}) > 1
    with pytest.raises(ParrotError, match=r"training\.evaluation\.records: 6 records held out of 6"):
        hold_out(records, HeldOut(every_steps=1, records=6), 1)


def test_patience_counts_evaluations_since_the_smallest_loss() -> None:
    settings = HeldOut(every_steps=1, records=1, patience=2)
    history: list[Metrics] = [{"loss": 1.0}]
    ended = []
    for loss in (3.0, 2.0, 2.5, 1.0, 1.0, 1.5):
        history.append({"eval_loss": loss})
        ended.append(out_of_patience(history, settings))
    assert ended == [False] * 5 + [True]
    assert not out_of_patience(history, HeldOut(every_steps=1, records=1))
    assert not out_of_patience(history, None)


@pytest.fixture
def mixture(tmp_path: Path) -> dict[str, Path]:
    records = [
        MixedRecord(
            f"r{number}", "s", "en",
            (Message("user", "<image>\nWhat is it?"), Message("assistant", f"It is {WORDS[number % 3]}.")),
            (Image("a.png", picture(number)),), copies=1 + number % 2,
        )
        for number in range(10)
    ]  # fmt: skip
    prepared, mixture = write_mixture(tmp_path, records)
    return {"records": prepared, "mixture": mixture}


@pytest.mark.parametrize("packing", [False, True])
def test_a_stage_evaluates_on_what_it_holds_out_and_asks_its_questions(
    inputs: dict[str, Path],
    mixture: dict[str, Path],
    train: Any,
    tmp_path: Path,
    packing: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    aligned = train("align", "parrot")
    told: dict[int, Metrics] = {}
    attached: list[list[list[str]]] = []

    def attach(file: Path) -> None:
        assert file.name == ANSWERS
        attached.append(list(csv.reader(file.open(encoding="utf-8", newline=""))))

    def stage(name: str, evaluation: HeldOut | None) -> dict[str, torch.Tensor]:
        params = Sft(
            learning_rate=1e-3,
            language_model_learning_rate=1e-3,
            lora=None,
            moe=None,
            training=Training(**TRAINING, packing=packing, evaluation=evaluation),
        )
        run = TrainingRun(
            "sft", tmp_path / f"{name}-checkpoints",
            report=lambda row, step: told.setdefault(step, {}).update(row), attach=attach,
            questions=QUESTIONS,
        )  # fmt: skip
        sft(
            params, MODELS["parrot"], 1, **{**inputs, **mixture}, aligned=aligned, output=tmp_path / name,
            curve=tmp_path / "curve.csv", metrics=tmp_path / "metrics.json", run=run,
        )  # fmt: skip
        return load_file(tmp_path / name / "model.safetensors")

    evaluation = HeldOut(every_steps=2, records=3, questions="elsewhere")
    stage("looked-at", evaluation)
    assert {step for step, row in told.items() if "eval_loss" in row} == {2, 3}

    dataset = RecordDataset(mixture["records"], mixture["mixture"])
    _, held = hold_out(dataset.records, evaluation, 1)
    model, processor = load_model(tmp_path / "looked-at"), load_processor(tmp_path / "looked-at")
    batch = ConversationCollator(processor, 128)([dataset[number] for number in held])
    with torch.no_grad():
        expected = float(model(**batch).loss)
    assert told[3]["eval_loss"] == pytest.approx(expected, rel=1e-4)

    assert [len(rows) for rows in attached] == [1 + 2, 1 + 4]
    header, *rows = attached[-1]
    assert header == ["step", "language", "question", "right", "answer"]
    assert [row[:4] for row in rows[2:]] == [
        ["3", "en", "What is it?", "red"],
        ["3", "tr", "Bu ne?", "yeşil"],
    ]
    asked = Evaluator(Subset(dataset, []), ConversationCollator(processor, 128), processor, QUESTIONS, 1)
    assert [row[4] for row in rows[2:]] == [text for _, text in asked.answers(model, dict)]
    assert "step 3: loss on held-out records" in capsys.readouterr().err

    # To look more often changes nothing but what is told.
    often = stage("often", evaluation.model_copy(update={"every_steps": 1, "questions": None}))
    for name, tensor in load_file(tmp_path / "looked-at/model.safetensors").items():
        assert torch.equal(tensor, often[name]), name


class Falling:
    """In the place of an `Evaluator`: a loss that falls three times and then rises."""

    def __init__(self) -> None:
        self.calls = 0

    def loss(self, model: Any, prepared: Any) -> float:
        assert not model.training and not torch.is_grad_enabled()
        self.calls += 1
        return abs(self.calls - 3.0)

    def answers(self, model: Any, prepared: Any) -> list[Any]:
        return []


def test_a_training_ends_when_the_held_out_loss_rises_and_is_not_gone_on_with(tmp_path: Path) -> None:
    training = Training(
        max_steps=20, batch_size=2, warmup_steps=0.0, weight_decay=0.0, logging_steps=2, save_steps=20,
        evaluation=HeldOut(every_steps=2, records=1, patience=2),
    )  # fmt: skip
    evaluator: Any = Falling()
    steps: list[int] = []

    class Line(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> Any:
            return {"loss": super().forward(x).square().mean()}

    def start() -> list[Metrics]:
        torch.manual_seed(1)
        model = Line(3, 1)
        run = TrainingRun("toy", tmp_path, report=lambda row, step: steps.append(step))
        return fit(
            model, [ParameterGroup(list(model.parameters()), 0.01)], [torch.ones(3)] * 8,
            lambda rows: {"x": torch.stack(rows)}, training, run, seed=1, lengths=[1] * 8,
            evaluator=evaluator,
        ).rows  # fmt: skip

    rows = start()
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10]
    assert evaluator.calls == 5
    assert start() == rows
    assert evaluator.calls == 5


def test_a_rank_ends_by_the_loss_of_the_first_and_not_by_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parrot.training.held_out.from_first", lambda make: 1.0)
    watch = SimpleNamespace(check=lambda: None)
    trainer: Any = SimpleNamespace(watch=watch, model=torch.nn.Linear(1, 1), prepared=None)
    settings = HeldOut(every_steps=1, records=1, patience=1)
    falling: Any = Falling()
    evaluation = HeldOutEvaluation(TrainingRun("toy", tmp_path), trainer, settings, falling)
    state = SimpleNamespace(global_step=1, max_steps=9, log_history=[])
    control = SimpleNamespace(should_training_stop=False, should_save=False)
    for ended in (False, True):
        evaluation.on_step_end(None, state, control)
        assert control.should_training_stop == ended


def test_a_question_is_put_with_the_system_turn_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(Exception):
        pass

    def ask(processor: Any, chats: Any) -> None:
        raise Asked(chats)

    monkeypatch.setattr("parrot.training.evaluator.prompts_of", ask)
    nothing: Any = SimpleNamespace(tokenizer=None)
    with pytest.raises(Asked) as told:
        list(Evaluator(nothing, nothing, nothing, QUESTIONS, 1).answers(None, dict))
    assert told.value.args[0] == [
        [{"role": "system", "content": "Help."}, {"role": "user", "content": "<image>\nWhat is it?"}]
    ]


def test_the_first_question_of_each_language_is_asked(tmp_path: Path) -> None:
    for language in ("en", "tr"):
        with (tmp_path / f"{language}.tsv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, delimiter="\t", lineterminator="\n")
            rows.writerow(["index", "question", *"AB", "answer", "category", "image"])
            image = base64.b64encode(picture(0)).decode()
            for index, colour in enumerate(WORDS):
                rows.writerow(
                    [index, f"{colour}, {language}?", "yes", "no", "AB"[index % 2], "colour", image]
                )
    evaluate = Evaluate(
        name="small", benchmark=str(tmp_path), files={"en": "en.tsv", "tr": "tr.tsv"}, circular=False,
        blind="removed",
        free=False,
    )  # fmt: skip
    assert first_questions(evaluate, ["en", "tr"]) == [
        (language, "You are a helpful assistant.", f"<image>\nred, {language}?", picture(0), "yes")
        for language in ("en", "tr")
    ]
    with pytest.raises(ParrotError, match=r"elsewhere/en\.tsv: not found"):
        first_questions(evaluate.model_copy(update={"benchmark": "elsewhere"}), ["en", "tr"])
    file = tmp_path / "tr.tsv"
    file.write_text(file.read_text().replace(base64.b64encode(picture(0)).decode(), "/9j/" * 40))
    with pytest.raises(ParrotError, match=r"evaluation\.questions .*: question 0 in 'tr', column 'image': "):
        first_questions(evaluate, ["en", "tr"])
