"""Two ranks under DeepSpeed: the losses and the answers of one process, whatever their batches hold."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Picture
from rank_cases import make_backbones, run_case
from safetensors.torch import load_file

from parrot.loading import load_model, load_processor

PROGRAM = Path(__file__).with_name("rank_cases.py")
MIXED = [0, 1, 2, 1] * 4
TWO_RANKS: dict[str, Any] = {"batch_size": 2, "launch": {"processes": 2}}
"""The global batch is the single process's: four."""
LOSS = {"rel": 2e-5}
"""Float32: sums in another order."""
WEIGHTS = {"atol": 2e-4, "rtol": 0.0}
"""AdamW divides by gradients that are almost zero where a weight hardly matters."""


class Workshop:
    """A folder with backbones, in which cases are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_backbones(folder)
        self.alone(self.case("aligned-parrot", "align", "parrot"))
        self.alone(self.case("aligned-flamingo", "align", "flamingo"))

    def case(self, name: str, stage: str, architecture: str, **choices: Any) -> dict[str, Any]:
        folder = self.folder / name
        folder.mkdir()
        aligned = str(self.folder / f"aligned-{architecture}/output")
        shared = {"stage": stage, "architecture": architecture, "images": MIXED, "aligned": aligned}
        return {"folder": str(folder), **shared, **choices}

    def alone(self, case: dict[str, Any]) -> None:
        run_case(case, self.folder)

    def start(self, cases: list[dict[str, Any]]) -> subprocess.Popen[str]:
        file = self.folder / f"{Path(cases[0]['folder']).name}.json"
        file.write_text(json.dumps(cases), encoding="utf-8")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):  # left in this process by DeepSpeed, if at all
            environment.pop(name, None)
        command = [sys.executable, str(PROGRAM), str(self.folder), str(file)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)

    def on_ranks(self, cases: list[dict[str, Any]], timeout: float = 240) -> subprocess.CompletedProcess[str]:
        process = self.start(cases)
        try:
            _, said = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
            pytest.fail(f"it hangs:\n{said[-3000:]}")
        return subprocess.CompletedProcess(process.args, process.returncode, "", said)

    def losses(self, name: str) -> list[float]:
        with (self.folder / name / "curve.csv").open(encoding="utf-8") as file:
            return [float(row["loss"]) for row in csv.DictReader(file)]

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        files = sorted((self.folder / name / "output").rglob("*.safetensors"))
        assert files
        return {f"{file.name}:{key}": value for file in files for key, value in load_file(file).items()}

    def answer(self, name: str) -> list[int]:
        model, processor = (load(self.folder / name / "output") for load in (load_model, load_processor))
        chat = [{"role": "user", "content": "<image>\nWhat is it?"}]
        text = processor.apply_chat_template(chat, add_generation_prompt=True)
        inputs = processor(text=text, images=[Picture.new("RGB", (20, 20), "red")], return_tensors="pt")
        ids: list[list[int]] = model.generate(**inputs, max_new_tokens=8, do_sample=False).tolist()
        return ids[0]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("ranks"))


def _same(workshop: Workshop, name: str, single: str, *, answers: bool) -> None:
    assert workshop.losses(name) == pytest.approx(workshop.losses(single), **LOSS), name
    expected = workshop.weights(single)
    weights = workshop.weights(name)
    assert weights.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(weights[key], value, **WEIGHTS, msg=lambda m, key=key: f"{key}: {m}")
    if answers:
        assert workshop.answer(name) == workshop.answer(single)


STAGES: list[tuple[str, str, dict[str, Any]]] = [
    ("align", "parrot", {}),
    ("sft", "parrot", {"moe": True}),
    ("sft", "parrot", {"moe": True, "lora": True}),
    ("sft", "flamingo", {}),
    ("align", "flamingo", {}),
    ("sft", "flamingo", {"lora": True}),
]


def _compared(workshop: Workshop, zero: str, stages: list[tuple[str, str, dict[str, Any]]]) -> None:
    names = [f"{zero}-{s}-{a}-{'-'.join(choices)}" for s, a, choices in stages]
    cases = []
    for name, (stage, architecture, choices) in zip(names, stages, strict=True):
        workshop.alone(workshop.case(f"alone-{name}", stage, architecture, **choices))
        cases.append(workshop.case(name, stage, architecture, deepspeed=zero, training=TWO_RANKS, **choices))
    done = workshop.on_ranks(cases)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, (stage, _, _) in zip(names, stages, strict=True):
        _same(workshop, name, f"alone-{name}", answers=stage == "sft")


def test_zero3_gives_the_losses_and_the_answers_of_one_process(workshop: Workshop) -> None:
    _compared(workshop, "zero3", STAGES[:4])


@pytest.mark.slow
def test_zero2_gives_the_losses_and_the_answers_of_one_process(workshop: Workshop) -> None:
    _compared(workshop, "zero2", STAGES)


@pytest.mark.slow
def test_zero3_of_flamingo_too(workshop: Workshop) -> None:
    _compared(workshop, "zero3", STAGES[4:])


MIXES: dict[str, list[int]] = {
    "one-rank-text-only": [0, 0, 1, 1] * 3,  # per batch of two samples a rank, whatever the shuffling gives
    "no-images": [0] * 8,
    "five-in-one-sample": [5, 0, 0, 1] * 2,
    "odd-last-batch": [0, 1, 2, 1, 0, 3, 1],
}


def _mixes(workshop: Workshop, zero: str, architecture: str, choices: dict[str, Any]) -> None:
    prefix = f"{zero}-{architecture}-{'-'.join(choices)}"
    training = {**TWO_RANKS, "batch_size": 1}  # so that a rank has text only as often as there is a text
    cases = [
        workshop.case(
            f"{prefix}-{name}",
            "sft",
            architecture,
            images=images,
            deepspeed=zero,
            training=training,
            **choices,
        )
        for name, images in MIXES.items()
    ]
    done = workshop.on_ranks(cases)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in MIXES:
        assert len(workshop.losses(f"{prefix}-{name}")) == 3


def test_zero3_does_not_hang_whatever_the_ranks_have_in_their_batches(workshop: Workshop) -> None:
    _mixes(workshop, "zero3", "parrot", {"moe": True})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "choices"),
    [
        ("parrot", {}),
        ("parrot", {"lora": True, "moe": True}),
        ("flamingo", {}),
        ("flamingo", {"lora": True}),
    ],
    ids=str,
)
@pytest.mark.parametrize("zero", ["zero2", "zero3"])
def test_zero_does_not_hang(
    workshop: Workshop, zero: str, architecture: str, choices: dict[str, Any]
) -> None:
    _mixes(workshop, zero, architecture, choices)
