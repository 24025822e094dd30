"""A small trained model as stage two writes it, and the package of it."""

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from examples.picture_world.backbones.train_tokenizer import train_tokenizer
from parrot.model.registered import ParrotProcessor, build_parrot
from parrot.params import load_params
from parrot.publishing.package import package

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT / "params.yaml")
ASKED = {
    "en": "What colour is the flower on the left of the picture?",
    "zh": "花是什么颜色的？",
    "pt": "De que cor é a flor?",
    "ar": "ما لون الزهرة؟",
    "tr": "Çiçek ne renk?",
    "ru": "Какого цвета цветок, который стоит слева?",
}
# Of a language model that knows nothing of ChatML.
INST = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST] "
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{{ part.text if part.type == 'text' else '<image>' }} {% endfor %}{% endif %}[/INST]"
    "{% else %}{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
)


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (24, 20), (40 * number, 200 - 30 * number, 90)).save(file, format="JPEG")
    return file.getvalue()


def make_trained(folder: Path, chat_template: str | None = None) -> Path:
    """The model in `folder/model`, with the benchmark and the metrics beside it."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer([*ASKED.values()] * 3, 300, folder / "model")
    if chat_template:
        tokenizer.bos_token = "<|im_start|>"
    language_model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2, bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16,
            patch_size=8,
        )
    )  # fmt: skip
    model = build_parrot(
        tower, language_model, image_token_id=tokenizer.image_token_id, num_experts=3, moe_intermediate_size=8
    )
    for name, parameter in model.named_parameters():
        if "multi_modal_projector" in name or "multilingual_moe" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    size = {"height": 16, "width": 16}
    image_processor = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=size)
    processor = ParrotProcessor(image_processor, tokenizer, chat_template=chat_template, image_seq_length=5)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    made_by = {"commit": "c0ffee" * 6, "seed": 3, "params": {}}
    (folder / "model/provenance.json").write_text(json.dumps(made_by), encoding="utf-8")
    for language, name in PARAMS.evaluate.files.items():
        (folder / "mmmb").mkdir(exist_ok=True)
        with (folder / "mmmb" / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(["index", "question", *"AB", "answer", "category", "split", "image"])
            for number in range(6):
                image = base64.b64encode(picture(number)).decode()
                question = ASKED[language] + "?" * number
                writer.writerow([number, question, "red", "blue", "A", "colour", "test", image])
    names = [*ASKED, "overall"]
    flat = dict.fromkeys(names, 0.5)
    scores = {
        "accuracy": flat, "blind": flat, "letter": flat, "unreadable": flat, "chance": 0.5, "questions": 36,
        "interval": {name: {"low": 0.4, "high": 0.6} for name in names}, "protocol": "option_likelihood",
        "written": {"parrot": flat, "vlmevalkit": flat},
    }  # fmt: skip
    split = {"records": 9, "images": 9, "languages": {"en": 9}, "sources": {"captions": 9}}
    for name, content in (
        ("evaluate", scores),
        *((f"mix/{name}", split) for name in ("align", "sft")),
        *((name, {"steps": 1}) for name in ("align", "sft")),
        *((f"validated/{name}", {"sha256": f"of {name}"}) for name in ("align", "sft")),
    ):
        file = folder / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    return folder


def make_package(trained: Path, output: Path, **changes: Any) -> None:
    """Args:
    changes: of the section `package`.
    """
    package(
        PARAMS.package.model_copy(update={"license_file": str(ROOT / "LICENSE"), **changes}),
        PARAMS.evaluate.model_copy(update={"benchmark": str(trained / "mmmb")}),
        PARAMS.backbones,
        PARAMS.hub,
        PARAMS.sources,
        list(ASKED),
        model=trained / "model",
        evaluation=trained / "evaluate.json",
        mixtures=trained / "mix",
        trainings=trained,
        validated=trained / "validated",
        output=output,
    )
