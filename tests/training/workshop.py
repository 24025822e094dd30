"""A folder in which the small trainings of `rank_cases.py` are run, and what came of them."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import rank_cases
import torch
from PIL import Image as Picture
from safetensors.torch import load_file

from parrot.loading import load_model, load_processor

MIXED = [0, 1, 2, 1] * 4
"""Images of the records, if a case names none."""


class Workshop:
    """A folder with backbones, in which cases are run."""

    def __init__(self, folder: Path, language: Path | None = None) -> None:
        """`language`: a model in the place of the small one."""
        self.folder = folder
        rank_cases.make_backbones(folder)
        if language:
            shutil.rmtree(folder / "language")
            shutil.move(language, folder / "language")
        self.alone(self.case("aligned-parrot", "align", "parrot"))
        if not language:
            self.alone(self.case("aligned-flamingo", "align", "flamingo"))

    def case(self, name: str, stage: str, architecture: str, **choices: Any) -> dict[str, Any]:
        folder = self.folder / name
        folder.mkdir()
        aligned = str(self.folder / f"aligned-{architecture}/output")
        shared = {"stage": stage, "architecture": architecture, "images": MIXED, "aligned": aligned}
        return {"folder": str(folder), **shared, **choices}

    def alone(self, case: dict[str, Any]) -> None:
        rank_cases.run_case(case, self.folder)

    def start(self, cases: list[dict[str, Any]]) -> subprocess.Popen[str]:
        file = self.folder / f"{Path(cases[0]['folder']).name}.json"
        file.write_text(json.dumps(cases), encoding="utf-8")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):  # left in this process by DeepSpeed, if at all
            environment.pop(name, None)
        command = [sys.executable, rank_cases.__file__, str(self.folder), str(file)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)

    def on_ranks(
        self, cases: list[dict[str, Any]], timeout: float = 1800
    ) -> subprocess.CompletedProcess[str]:
        """Run the cases; one that offloads has DeepSpeed compile, which takes long on a busy machine."""
        process = self.start(cases)
        try:
            _, said = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
            raise AssertionError(f"it hangs:\n{said[-3000:]}") from None
        return subprocess.CompletedProcess(process.args, process.returncode, "", said)

    def losses(self, name: str) -> list[float]:
        with (self.folder / name / "curve.csv").open(encoding="utf-8") as file:
            return [float(row["loss"]) for row in csv.DictReader(file)]

    def told(self, name: str) -> list[dict[str, float]]:
        """What MLflow would get."""
        told: list[dict[str, float]] = json.loads((self.folder / name / "told-0.json").read_text("utf-8"))
        return told

    def seen(self, name: str) -> list[dict[str, Any]]:
        """Of each rank."""
        files = sorted((self.folder / name).glob("seen-*.json"))
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

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
