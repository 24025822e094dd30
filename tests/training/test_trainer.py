"""The shared training run: resumes exactly, trains only what it is told, stops on nonsense."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import OPTConfig, PreTrainedConfig

from parrot.config import Launch, Training
from parrot.errors import ParrotError
from parrot.training import assembly
from parrot.training.history import SMOOTHING, LogHistory
from parrot.training.resume import COMPLETE
from parrot.training.trainer import ParameterGroup, TrainingRun, fit

TRAINING = Training(
    max_steps=24, batch_size=4, warmup_steps=0.1, weight_decay=0.01, logging_steps=1, save_steps=5
)


class Regression(nn.Module):
    """Two layers with dropout, so that a resumed run must restore the random state too."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 8)
        self.outer = nn.Linear(8, 1)
        self.steps = 0

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        self.steps += 1
        hidden = nn.functional.dropout(self.inner(x).tanh(), 0.2, self.training)
        return {"loss": (self.outer(hidden).squeeze(-1) - labels).square().mean()}


def samples() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(30, 4, generator=generator)
    return [{"x": row, "labels": row.sum()} for row in rows]


def collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


def train(
    folder: Path,
    training: Training = TRAINING,
    rate: float = 0.05,
    report=lambda m, s: None,
    workers: int = 0,
) -> tuple:
    torch.manual_seed(7)
    model = Regression()
    groups = [
        ParameterGroup(list(model.inner.parameters()), rate),
        ParameterGroup([model.outer.weight], rate / 10),
    ]
    run = TrainingRun("toy", folder / "checkpoints", report, workers)
    history = fit(model, groups, samples(), collate, training, run, seed=5, lengths=list(range(30)))
    return model, history


@pytest.mark.parametrize(("optimizer", "workers"), [("adamw", 0), ("muon", 0), ("muon", 1)])
def test_a_resumed_run_repeats_the_losses_and_the_weights(
    tmp_path: Path, optimizer: str, workers: int
) -> None:
    training = TRAINING.model_copy(update={"optimizer": optimizer})
    whole, whole_history = train(tmp_path / "whole", training)

    class Killed(Exception):
        pass

    def die_at_13(metrics: dict[str, float], step: int) -> None:
        if step == 13:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "broken", training, report=die_at_13, workers=workers)
    assert {path.name for path in (tmp_path / "broken/checkpoints").iterdir()} == {
        "checkpoint-5",
        "checkpoint-10",
    }
    steps: list[int] = []
    resumed, resumed_history = train(
        tmp_path / "broken", training, report=lambda _, step: steps.append(step), workers=workers
    )

    assert resumed.steps == 14
    assert steps == list(range(1, 25))  # who is told of this run only is told of the whole curve
    assert resumed_history == whole_history
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_worker_changes_no_number_and_its_errors_are_sentences(tmp_path: Path) -> None:
    def refuse(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        raise ParrotError("record 7 of captions: no such picture")

    def run(name: str, workers: int, collate: Any = collate) -> tuple[nn.Module, LogHistory]:
        torch.manual_seed(7)
        model = Regression()
        run = TrainingRun("toy", tmp_path / name, workers=workers)
        groups = [ParameterGroup(list(model.parameters()), 0.05)]
        return model, fit(model, groups, samples(), collate, TRAINING, run, seed=5, lengths=list(range(30)))

    (alone, alone_history), (fed, fed_history) = run("alone", 0), run("fed", 1)
    assert fed_history == alone_history
    assert all(torch.equal(value, fed.state_dict()[name]) for name, value in alone.state_dict().items())
    with pytest.raises(ParrotError, match=r"^record 7 of captions: no such picture$"):
        run("broken", 1, refuse)


def test_a_half_written_checkpoint_is_not_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def die_at_12(metrics: dict[str, float], step: int) -> None:
        if step == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, report=die_at_12)
    (tmp_path / "checkpoints/checkpoint-10" / COMPLETE).unlink()
    (tmp_path / "checkpoints/checkpoint-10/model.safetensors").write_bytes(b"half")
    resumed, _ = train(tmp_path)
    assert resumed.steps == 19
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_another_layout_does_not_go_on_from_a_checkpoint_and_leaves_it(tmp_path: Path) -> None:
    train(tmp_path)
    complete = tmp_path / "checkpoints/checkpoint-24" / COMPLETE
    text = complete.read_text()
    assert '"1 process"' in text
    complete.write_text(text.replace("1 process", "2 ranks under ZeRO-3"))
    with pytest.raises(
        ParrotError,
        match=r"checkpoint-24 was written by 2 ranks under ZeRO-3, and 1 process cannot go on from it: .* "
        r"set `launch` and `deepspeed` back, or remove .*/checkpoints$",
    ):
        train(tmp_path)
    assert complete.exists()


@pytest.mark.parametrize("logging_steps", [4, 7])
def test_a_run_killed_between_two_logged_steps_has_the_curve_of_an_unbroken_one(
    tmp_path: Path, logging_steps: int
) -> None:
    training = TRAINING.model_copy(update={"logging_steps": logging_steps})
    _, whole = train(tmp_path / "whole", training)

    def die(metrics: dict[str, float], step: int) -> None:
        if step > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", training, report=die)
    assert (tmp_path / "broken/checkpoints/checkpoint-10" / COMPLETE).exists()
    _, resumed = train(tmp_path / "broken", training)
    assert resumed == whole


def test_a_run_killed_before_its_model_was_saved_need_not_train_again(tmp_path: Path) -> None:
    whole, history = train(tmp_path)
    steps: list[int] = []
    resumed, same_history = train(tmp_path, report=lambda metrics, step: steps.append(step))
    assert resumed.steps == 0
    assert steps == list(range(1, 25))
    assert same_history == history
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_the_smoothed_loss_is_a_mean_in_which_late_losses_weigh_more(tmp_path: Path) -> None:
    reported: list[float] = []
    _, history = train(tmp_path, report=lambda metrics, step: reported.append(metrics["smoothed_loss"]))
    losses = [row["loss"] for row in history.rows]
    for count in range(1, len(losses) + 1):
        weights = [SMOOTHING ** (count - 1 - place) for place in range(count)]
        mean = sum(w * loss for w, loss in zip(weights, losses, strict=False)) / sum(weights)
        assert history.rows[count - 1]["smoothed_loss"] == pytest.approx(mean)
    assert reported == [row["smoothed_loss"] for row in history.rows]


def test_what_will_be_trained_is_said_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    steps = {"gradient_accumulation_steps": 2, "max_steps": 6}
    train(
        tmp_path,
        TRAINING.model_copy(update=steps),
        report=lambda metrics, step: said.append(capsys.readouterr().err),
    )
    assert said[0].startswith(
        "toy: 6 steps of 8 samples (1 rank × 4 × accumulation 2), 1.60 epochs of 30 samples, "
        "about 696 positions\n"
    )


def test_groups_learn_at_their_rates_and_the_rest_is_frozen(tmp_path: Path) -> None:
    torch.manual_seed(7)
    start = Regression().state_dict()
    model, history = train(tmp_path)
    assert not torch.equal(model.inner.weight, start["inner.weight"])
    assert not torch.equal(model.outer.weight, start["outer.weight"])
    assert torch.equal(model.outer.bias, start["outer.bias"])
    assert not model.outer.bias.requires_grad
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]


def test_no_steps_leave_the_model_as_it_is(tmp_path: Path) -> None:
    torch.manual_seed(7)
    start = Regression().state_dict()
    model, history = train(tmp_path, TRAINING.model_copy(update={"max_steps": 0}))
    assert history == LogHistory()
    assert all(torch.equal(value, start[name]) for name, value in model.state_dict().items())


def test_a_loss_that_is_no_number_stops_with_the_step(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match=r"toy: the loss is (nan|inf) at step \d+; lower the learning rate"):
        train(tmp_path, rate=1e30)


def test_a_precision_that_the_device_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    with pytest.raises(ParrotError, match=r"training\.bf16: Tesla V100 has no bfloat16"):
        train(tmp_path, TRAINING.model_copy(update={"bf16": True}))


def test_fewer_gpus_than_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = Launch(processes=2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ParrotError, match=r"processes: 2 need a GPU each, .* has 1; .*use_cpu to true"):
        train(tmp_path, TRAINING.model_copy(update={"launch": launch}))
    slurm = TRAINING.model_copy(update={"launch": Launch(processes=2, kind="slurm")})
    train(tmp_path, slurm)  # it may show each process its own


def test_curve_is_written_for_dvc_plots(tmp_path: Path) -> None:
    _, history = train(tmp_path, TRAINING.model_copy(update={"logging_steps": 12}))
    history.write_csv(tmp_path / "curve.csv")
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines[0] == "step,loss,smoothed_loss,learning_rate,grad_norm"
    assert [line.split(",")[0] for line in lines[1:]] == ["12", "24"]


@pytest.mark.parametrize("logging_steps", [2, 10])
def test_all_steps_are_reported_and_not_those_up_to_the_last_log(tmp_path: Path, logging_steps: int) -> None:
    training = TRAINING.model_copy(update={"max_steps": 5, "logging_steps": logging_steps})
    _, history = train(tmp_path, training)
    told = assembly.report(history, curve=tmp_path / "curve.csv", metrics=tmp_path / "metrics.json")
    assert told["steps"] == 5


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path):
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_the_config_that_is_saved_keeps_its_cache(tmp_path: Path) -> None:
    model = Regression()
    model.config = PreTrainedConfig(use_cache=True)
    run = TrainingRun("toy", tmp_path / "checkpoints")
    groups = [ParameterGroup(list(model.parameters()), 0.05)]
    fit(model, groups, samples(), collate, TRAINING, run, seed=5, lengths=list(range(30)))
    assert model.config.use_cache


def test_packing_is_refused_where_samples_would_see_one_another(tmp_path: Path) -> None:
    packing = TRAINING.model_copy(update={"packing": True})
    model: Any = SimpleNamespace(config=SimpleNamespace(text_config=OPTConfig()))
    none: Any = None
    with pytest.raises(ParrotError, match=r"packing: .* llama, mistral, qwen2, qwen3, not by 'opt'"):
        assembly.train(
            model, none, [], packing, 1, records=tmp_path, mixture=tmp_path, max_length=8, run=none,
            arguments=none,
        )  # fmt: skip
