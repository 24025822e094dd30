"""What is watched of a training: speed, experts by language, and what makes it stop."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from plan_cases import of, whole
from safetensors.torch import load_file
from small_stages import LORA, MODELS, MOE, TRAINING, WORDS, picture
from torch import Tensor, nn
from written_mixtures import MixedRecord, write_mixture

from parrot.config import Align, RatedTraining, Sft, Training
from parrot.data.records import Image, Message
from parrot.errors import ParrotError
from parrot.training.align import align
from parrot.training.arguments import training_arguments
from parrot.training.assembly import assemble
from parrot.training.conversations import ConversationCollator, WatchedCollator
from parrot.training.history import LOG_COLUMNS, Metrics
from parrot.training.operations import RecordOperations
from parrot.training.sft import sft
from parrot.training.trainer import ParameterGroup, TrainingRun, fit
from parrot.training.watching import SEEN, SeenRecord, Watch, peak_operations

STEPS = Training(
    max_steps=12, batch_size=2, warmup_steps=0.0, weight_decay=0.0, logging_steps=4, save_steps=3
)


class Scaled(nn.Module):
    """Its loss is the batch's mean times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": self.weight * labels.mean()}


def collate(rows: list[tuple[int, float]]) -> dict[str, Any]:
    seen = [SeenRecord(f"r{number}", "s", "en", 10, 5, 0) for number, _ in rows]
    return {"labels": torch.tensor([label for _, label in rows]), SEEN: seen}


def train(
    folder: Path, labels: list[float], training: Training = STEPS, report: Any = lambda m, s: None
) -> None:
    model = Scaled()
    run = TrainingRun("toy", folder, report)
    groups = [ParameterGroup([model.weight], 1e-6)]
    lengths = [1] * len(labels)
    fit(model, groups, list(enumerate(labels)), collate, training, run, seed=1, lengths=lengths)


def test_a_loss_that_is_no_number_names_its_step_and_the_records_of_its_batch(tmp_path: Path) -> None:
    labels = [1.0] * 30
    labels[7] = math.inf
    with pytest.raises(
        ParrotError, match=r"the loss is inf at step (\d+); lower .*, or look at the records of its batch: "
    ) as caught:
        train(tmp_path, labels, STEPS.model_copy(update={"max_steps": 15}))
    named = str(caught.value).rpartition(": ")[2].split(", ")
    assert len(named) == 2 and "r7 of s" in named
    step = int(str(caught.value).partition("at step ")[2].partition(";")[0])
    saved = [int(folder.name[11:]) for folder in tmp_path.glob("checkpoint-*")]
    assert all(number < step for number in saved)  # of a broken training no checkpoint is written


def looked_at(watch: Watch, step: int, losses: dict[str, float], before: float) -> None:
    """A logged step whose batches have these losses, each of one record."""
    for name, loss in losses.items():
        watch.took(step, torch.tensor(loss), [SeenRecord(name, "s", "en", 10, 5, 0)])
    watch.check()
    watch.explosion(step, sum(losses.values()) / len(losses), before)
    watch.metrics()


def test_a_loss_that_explodes_names_the_worst_batch() -> None:
    watch = Watch("toy")
    looked_at(watch, 10, {"a": 2.0}, 1.9)
    looked_at(watch, 20, {"b": 3.0, "c": 30.0}, 2.0)
    with pytest.raises(
        ParrotError, match=r"the loss has exploded: 20 at step 30, above 7; .* at step 20, .*: c of s$"
    ):
        looked_at(watch, 30, {"d": 20.0}, 8.0)


def test_neither_one_outlier_nor_a_small_loss_that_varies_stops_a_training() -> None:
    watch = Watch("toy")
    for step, loss in enumerate([2.0, 30.0, 2.1, 30.0, 2.0, 6.9, 6.9]):
        looked_at(watch, step, {"a": loss}, 2.0)
    for step in range(5):
        looked_at(watch, step, {"a": 0.5 * step % 1.0}, 0.001)


def test_a_training_that_explodes_is_stopped_when_it_has_warmed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Scaled.forward
    calls: list[int] = []

    def exploding(self: Scaled, labels: Tensor) -> dict[str, Tensor]:
        calls.append(1)
        return {"loss": forward(self, labels)["loss"] * (100 if len(calls) > 10 else 1)}

    monkeypatch.setattr(Scaled, "forward", exploding)
    training = STEPS.model_copy(update={"logging_steps": 1, "max_steps": 20})
    with pytest.raises(
        ParrotError, match=r"has exploded: 100 at step 12, above 4; .* at step 11, .*: r\d+ of s"
    ):
        train(tmp_path / "late", [1.0] * 30, training)
    calls.clear()
    warming = training.model_copy(update={"warmup_steps": 0.9, "max_steps": 14})
    train(tmp_path / "early", [1.0] * 30, warming)


def test_speed_memory_and_waiting_go_to_mlflow_and_not_into_the_curve(tmp_path: Path) -> None:
    told: list[Metrics] = []
    train(tmp_path, [1.0] * 30, report=lambda metrics, step: told.append(metrics))
    assert len(told) == 3
    for metrics in told:
        assert metrics["tokens_per_second"] > 0
        assert 0 <= metrics["data_wait"] <= 1
        assert metrics["memory_gib"] > 0.05
        assert metrics.keys() >= set(LOG_COLUMNS) - {"step"}
        assert ("mfu" in metrics) == torch.cuda.is_available()


def test_the_peak_of_an_unknown_device_is_not_invented() -> None:
    assert peak_operations("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_operations("NVIDIA H100 PCIe") == 756e12
    assert peak_operations("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_operations("NVIDIA GeForce GTX 1080") is None


@pytest.mark.parametrize("images", [0, 2])
@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize(
    "stage",
    [whole(), whole(LORA), Align(training=RatedTraining(**TRAINING, learning_rate=1e-2))],
    ids=["whole", "LoRA", "align"],
)
def test_operations_of_a_record_are_those_of_a_pass(
    stage: Align | Sft, architecture: str, images: int
) -> None:
    plan = of(stage, architecture)
    learned = [parameter for parameter in plan.joined.parameters() if parameter.requires_grad]
    pictured = images * plan.joined.config.image_seq_length
    record = SeenRecord("a", "s", "en", positions=300, labels=300 - 1 - pictured, images=images)
    counted = RecordOperations(plan.joined, learned)(record)
    assert counted == pytest.approx(plan.operations(300, images), rel=0.05)


LANGUAGES = ("en", "tr", "ru")


def records() -> list[MixedRecord]:
    """In three languages, each with other numbers of pictures."""
    made = []
    for number in range(12):
        count = number % 3
        asked = Message("user", "<image>\n" * count + "What is it?" * (1 + number % 2))
        said = Message("assistant", f"It is {WORDS[number % 3]}.")
        images = tuple(Image(f"{place}.png", picture(number + place)) for place in range(count))
        made.append(MixedRecord(f"r{number}", "s", LANGUAGES[number % 3], (asked, said), images))
    return made


@pytest.mark.parametrize("packing", [False, True])
def test_expert_load_and_entropy_are_told_by_language(
    inputs: dict[str, Path], tmp_path: Path, packing: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[Metrics] = []
    prepared, mixture = write_mixture(tmp_path, records())
    paths: dict[str, Any] = {
        **inputs,
        "records": prepared,
        "mixture": mixture,
        "metrics": tmp_path / "m.json",
    }
    training = {**TRAINING, "packing": packing}
    align(
        Align(training=RatedTraining(**training, learning_rate=1e-2)), MODELS["parrot"], 1, **paths,
        output=tmp_path / "align", curve=tmp_path / "align.csv", run=TrainingRun("align", tmp_path / "a"),
    )  # fmt: skip
    sft(
        Sft(
            learning_rate=1e-3, language_model_learning_rate=1e-3, lora=None, moe=MOE,
            training=Training(**training),
        ),
        MODELS["parrot"], 1, **paths, aligned=tmp_path / "align", output=tmp_path / "sft",
        curve=tmp_path / "sft.csv",
        run=TrainingRun("sft", tmp_path / "s", report=lambda row, step: told.append(row)),
    )  # fmt: skip
    assert load_file(tmp_path / "sft/model.safetensors")
    languages = {name.partition("/")[2] for row in told for name in row if name.startswith("router_entropy")}
    assert languages == {"tr", "ru"}  # English comes without pictures here
    line = r"^sft: experts in 'tr': 0\.\d\d 0\.\d\d, entropy 0.\d\d of 0.69 nats$"
    assert re.search(line, capsys.readouterr().err, re.M)
    for row in told:
        for language in languages & {name[15:] for name in row}:
            assert 0 < row[f"router_entropy/{language}"] <= math.log(2) + 1e-6
            assert sum(row[f"expert_load/{language}.{expert}"] for expert in range(2)) == pytest.approx(1)


@pytest.mark.parametrize("packing", [False, True])
def test_records_stand_in_the_order_of_their_pictures(
    inputs: dict[str, Path], tmp_path: Path, packing: bool
) -> None:
    training = RatedTraining(**TRAINING, learning_rate=1e-2, packing=packing)
    arguments = training_arguments(training, TrainingRun("a", tmp_path), 1)
    _, processor = assemble(inputs["vision"], inputs["language"], MODELS["parrot"], 1, arguments)
    rows: list[dict[str, Any]] = [
        {
            "id": one.id, "source": one.source, "language": one.language,
            "messages": [{"role": turn.role, "content": turn.content} for turn in one.messages],
            "images": [image.bytes for image in one.images],
        }
        for one in records()
    ]  # fmt: skip
    batch = WatchedCollator(processor, 128, packing=packing)(rows)
    seen = batch.pop(SEEN)
    plain = ConversationCollator(processor, 128, packing=packing)(rows)
    assert plain.keys() == batch.keys()
    by_name = {row["id"]: row for row in rows}
    pictures = [image for one in seen for image in by_name[one.id]["images"]]
    assert torch.equal(processor.encode_images(pictures), batch["pixel_values"])
    assert sum(one.labels for one in seen) == (batch["labels"][:, 1:] != -100).sum()
    alone = [ConversationCollator(processor, 128)([by_name[one.id]])["input_ids"] for one in seen]
    assert [one.positions for one in seen] == [ids.shape[1] for ids in alone]


def test_experts_are_averaged_over_passes_and_images() -> None:
    watch = Watch("toy")
    both: Callable[..., SeenRecord] = lambda language, images: SeenRecord("a", "s", language, 1, 1, images)  # noqa: E731
    watch.routed(torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]), [both("tr", 2), both("en", 1)])
    watch.routed(torch.tensor([[0.0, 1.0]]), [both("en", 0), both("tr", 1)])
    metrics = watch.metrics()
    assert metrics["expert_load/tr.0"] == pytest.approx(0.5)
    assert metrics["router_entropy/tr"] == pytest.approx(math.log(2) / 3)
    assert metrics["expert_load/en.1"] == 1.0
    assert metrics["router_entropy/en"] == 0.0
