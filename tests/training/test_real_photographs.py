"""Real photographs with captions in six languages: checked, prepared, mixed, validated, and one step."""

import base64
import csv
import json
import math
from pathlib import Path

import pytest
import yaml
from small_stages import MODELS, TRAINING, picture

from parrot.config import Align, Params, RatedTraining
from parrot.data.check import Check
from parrot.data.mix import mix
from parrot.data.prepare import prepare
from parrot.training.align import align
from parrot.training.trainer import TrainingRun
from parrot.validation.validate import validate

ROOT = Path(__file__).parents[2]
STAMPS = ROOT / "../shared/reference/real-data/tuxpaint_stamps_six"
pytestmark = pytest.mark.skipif(not STAMPS.is_dir(), reason="the photographs are not beside this checkout")
QUESTIONS = {"en": "What is it?", "zh": "这是什么？", "pt": "O que é isto?", "ar": "ما هذا؟",
             "tr": "Bu nedir?", "ru": "Что это?"}  # fmt: skip
CAPTIONS = {"en": 314, "zh": 267, "pt": 314, "ar": 281, "tr": 312, "ru": 314}
"""As SOURCE.txt counts them."""


@pytest.fixture(scope="module")
def params() -> Params:
    """As committed, with a source for each language of the one file in which all captions stand."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["sources"] = {
        language: {
            "split": "align", "path": str(STAMPS / "captions.jsonl"), "images": str(STAMPS),
            "language": language, "expected": CAPTIONS[language],
            "format": {"columns": {"response": "text"}, "ask": question, "only": {"language": [language]}},
        }
        for language, question in QUESTIONS.items()
    }  # fmt: skip
    tree["sources"]["unused"] = tree["sources"]["en"] | {"split": "sft"}
    tree["mix"] |= {"align": dict.fromkeys(QUESTIONS, 1.0), "sft": {"unused": 1.0}}
    tree["validate"] |= {"english_share": [0.1, 0.3], "min_language_share": 0.1}
    return Params.model_validate(tree)


def test_check_finds_the_one_that_is_too_small(params: Params) -> None:
    check = Check("tr", params.sources["tr"], params.images, params.languages)
    [broken] = check
    assert broken.reason.endswith("walnut_shelled.jpg has 28 × 28 pixels, fewer than 32")
    assert check.read == CAPTIONS["tr"]


def test_from_the_file_to_a_step_of_stage_one(
    params: Params, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(params.mix.benchmarks).mkdir(parents=True)
    of_another = base64.b64encode(picture(0)).decode()
    cells = {"index": "1", "question": "Which?", "A": "a", "B": "b", "answer": "A", "image": of_another}
    table = "\n".join("\t".join(row) for row in (cells, cells.values()))
    Path(params.mix.benchmarks, "en.tsv").write_text(table, encoding="utf-8")
    images = params.images.model_copy(update={"min_pixels": 28})
    for language, count in CAPTIONS.items():
        made = prepare(
            params.languages, images, params.prepare, params.sources, params.speed,
            source=language, output=Path("prepared", language), metrics=Path(f"{language}.json"),
            work=Path("work", language),
        )  # fmt: skip
        assert (made["kept"], made["images"], made["left_out"]) == (count, count, 1802 - count)
    model = MODELS["parrot"].model_copy(update={"max_length": 1024})
    backbones = {part: inputs[part] for part in ("vision", "language")}
    mixed = mix(
        1, params.mix, model, images, params.speed, split="align", prepared=Path("prepared"), **backbones,
        output=Path("mixture"), metrics=Path("mix.json"), work=Path("work", "mix"),
    )  # fmt: skip
    assert mixed["languages"] == CAPTIONS
    checked = validate(
        params.languages, images, params.validate_, model, params.speed, split="align",
        prepared=Path("prepared"), mixture=Path("mixture"), reports=Path("reports"),
        metrics=Path("validate.json"), stamp=Path("stamp.json"), work=Path("work"),
    )  # fmt: skip
    assert checked["records"] == sum(CAPTIONS.values())
    assert json.loads(Path("stamp.json").read_text())
    training = RatedTraining(**TRAINING | {"max_steps": 1}, learning_rate=1e-2)
    align(
        Align(training=training), model, 1, records=Path("prepared"), mixture=Path("mixture"), **backbones,
        output=Path("aligned"), curve=Path("curve.csv"), metrics=Path("align.json"),
        run=TrainingRun("align", Path("checkpoints")),
    )  # fmt: skip
    with Path("curve.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert math.isfinite(float(row["loss"]))
