"""A picture that breaks between its check and the training stops nothing, teaches nothing and is told."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_stages import MODELS, MOE, TRAINING, WORDS, picture
from written_mixtures import SHARD, MixedRecord, write_mixture

from parrot.config import Align, RatedTraining, Sft, Training
from parrot.data.records import Image, Message
from parrot.data.shards import RecordDataset
from parrot.errors import ParrotError
from parrot.training.align import align
from parrot.training.arguments import training_arguments
from parrot.training.assembly import assemble
from parrot.training.conversations import BROKEN, ConversationCollator, ReadableRecords
from parrot.training.history import Metrics
from parrot.training.run_progress import LEFT_OUT
from parrot.training.sft import sft
from parrot.training.trainer import TrainingRun
from parrot.training.watching import SeenRecord, Watch

COUNT = 12


def records(broken: int, cut: int) -> list[MixedRecord]:
    """Of which so many, from the first, have a picture of which only `cut` bytes are left."""
    return [
        MixedRecord(
            f"r{number}", "s", "en",
            (Message("user", "<image>\nWhat is it?"), Message("assistant", f"It is {WORDS[number % 3]}.")),
            (Image("a.png", picture(number)[: cut if number < broken else None]),),
        )
        for number in range(COUNT)
    ]  # fmt: skip


@pytest.fixture
def run(inputs: dict[str, Path], tmp_path: Path) -> Any:
    """`run(records, …)`: both stages on them; what MLflow is told, and the file of what was left out."""

    def stages(some: list[MixedRecord], **choices: Any) -> tuple[list[Metrics], list[list[str]]]:
        prepared, mixture = write_mixture(tmp_path, some)
        return trained(prepared, mixture, **choices)

    def trained(prepared: Path, mixture: Path, **choices: Any) -> tuple[list[Metrics], list[list[str]]]:
        told: list[Metrics] = []
        attached: list[list[str]] = []

        def attach(file: Path) -> None:
            assert file.name == LEFT_OUT
            attached[:] = list(csv.reader(file.open(encoding="utf-8", newline="")))

        training = {**TRAINING, "max_steps": 6, **choices}
        paths: dict[str, Any] = {**inputs, "records": prepared, "mixture": mixture}
        paths["metrics"] = tmp_path / "m.json"
        align(
            Align(training=RatedTraining(**training, learning_rate=1e-2)), MODELS["parrot"], 1, **paths,
            output=tmp_path / "align", curve=tmp_path / "align.csv",
            run=TrainingRun("align", tmp_path / "a"),
        )  # fmt: skip
        sft(
            Sft(
                learning_rate=1e-3, language_model_learning_rate=1e-3, lora=None, moe=MOE,
                training=Training(**training),
            ),
            MODELS["parrot"], 1, **paths, aligned=tmp_path / "align", output=tmp_path / "sft",
            curve=tmp_path / "sft.csv",
            run=TrainingRun("sft", tmp_path / "s", lambda row, step: told.append(row), attach=attach),
        )  # fmt: skip
        assert all(
            tensor.isfinite().all() for tensor in load_file(tmp_path / "sft/model.safetensors").values()
        )
        return told, attached

    stages.trained = trained  # type: ignore[attr-defined]
    return stages


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_broken_picture_stops_nothing_and_is_named(
    run: Any, capsys: pytest.CaptureFixture[str], packing: bool, batch_size: int
) -> None:
    told, left_out = run(records(1, cut=50), packing=packing, batch_size=batch_size, max_steps=12)
    assert [row["loss"] for row in told if math.isfinite(row["loss"])] == [row["loss"] for row in told]
    assert len(told) == 12 and told[-1]["left_out"] == 1
    assert [row[0] for row in left_out] == ["record", "r0 of s"]
    said = capsys.readouterr().err
    assert said.count("sft: record r0 of s: image 0: no image could be read") == 1
    assert "sft: nothing was learned of 1 record that was whole when checked" in said


def test_nothing_is_told_where_all_are_whole(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    told, left_out = run(records(0, cut=0))
    assert not left_out and not any("left_out" in row for row in told)
    assert "nothing was learned" not in capsys.readouterr().err


@pytest.mark.parametrize("packing", [False, True])
def test_of_a_broken_record_nothing_is_learned(
    inputs: dict[str, Path], tmp_path: Path, packing: bool
) -> None:
    arguments = training_arguments(Training(**TRAINING), TrainingRun("a", tmp_path), 1)
    model, processor = assemble(inputs["vision"], inputs["language"], MODELS["parrot"], 1, arguments, moe=MOE)
    rows = [
        {
            "id": one.id, "source": one.source, "language": one.language,
            "messages": [{"role": turn.role, "content": turn.content} for turn in one.messages],
            "images": [image.bytes for image in one.images],
        }
        for one in records(1, cut=50)[:3]
    ]  # fmt: skip
    collate = ConversationCollator(processor, 128, packing=packing)
    model.train()

    def gradients(some: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        model.zero_grad()
        model(**collate(some), num_items_in_batch=10).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    without, with_broken = gradients(rows[1:]), gradients(rows)
    assert without.keys() == with_broken.keys()
    for name, gradient in without.items():
        torch.testing.assert_close(with_broken[name], gradient, msg=name)
    nothing = gradients(rows[:1])
    assert all(not gradient.any() for gradient in nothing.values())


def test_a_damaged_part_of_a_shard_stops_nothing(run: Any, tmp_path: Path, inputs: dict[str, Path]) -> None:
    from parrot.data import shards

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "GROUP_ROWS", 1)  # else all of these few records were damaged together
        prepared, mixture = write_mixture(tmp_path, records(0, cut=0))
    shard = prepared / SHARD
    content = shard.read_bytes()
    place = content.index(picture(0)) + 40
    shard.write_bytes(content[:place] + b"?" + content[place + 1 :])
    with pytest.raises(ParrotError, match="damaged: 'images' of row group 0"):
        RecordDataset(prepared, mixture)[0]
    row = ReadableRecords(RecordDataset(prepared, mixture))[0]
    assert (row["id"], row["source"]) == ("r0", "s") and "damaged" in row[BROKEN]
    _, left_out = run.trained(prepared, mixture)
    assert [name for name, _ in left_out[1:]] == ["r0 of s"]


def test_where_much_is_broken_the_training_ends_in_words() -> None:
    watch = Watch("toy")

    def see(count: int, broken: str | None) -> None:
        for number in range(count):
            record = SeenRecord(f"r{number}", "s", "en", 10, 5, 1, broken)
            watch.took(1, torch.zeros(()), [record])

    see(80, None)
    see(10, "cut off")
    assert watch.metrics()["left_out"] == 10  # few as these are, it may be chance
    see(1, "cut off")
    with pytest.raises(ParrotError, match=r"toy: 11 of 91 samples cannot be read, such as r0 of s: cut off"):
        watch.metrics()
