"""A package of a small model: its files, its proof, and the examples of its card in a fresh process."""

import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    pipeline,
)

from examples.picture_world.backbones.train_tokenizer import train_tokenizer
from parrot.errors import ParrotError
from parrot.loading import load_model, load_processor
from parrot.model.registered import ParrotProcessor, build_parrot
from parrot.params import load_params
from parrot.publishing import package as stage
from parrot.publishing.load_back import answers
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


@pytest.fixture(scope="module", params=[None, INST], ids=["chatml", "inst"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as stage two writes it, with the benchmark and the metrics beside it."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    tokenizer = train_tokenizer([*ASKED.values()] * 3, 300, folder / "model")
    if request.param:
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
    processor = ParrotProcessor(image_processor, tokenizer, chat_template=request.param, image_seq_length=5)
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
        *((f"validated/{name}", {"sha256": f"of {name}"}) for name in ("align", "sft")),
    ):
        file = folder / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    return folder


Make = Callable[..., Path]


@pytest.fixture
def make(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """`make(repo_id=…, license_file=…)`: the package, in the folder `package` of the current one."""
    monkeypatch.chdir(tmp_path)

    def run(**changes: Any) -> Path:
        changes = {"license_file": str(ROOT / "LICENSE"), **changes}
        package(
            PARAMS.package.model_copy(update=changes),
            PARAMS.evaluate.model_copy(update={"benchmark": str(trained / "mmmb")}),
            PARAMS.backbones,
            PARAMS.hub,
            PARAMS.sources,
            list(ASKED),
            model=trained / "model",
            evaluation=trained / "evaluate.json",
            mixtures=trained / "mix",
            validated=trained / "validated",
            output=Path("package"),
        )
        return tmp_path / "package"

    return run


def run_examples(card: Path, environment: dict[str, str]) -> list[list[str]]:
    """The words that each piece of Python on the card prints, run as it stands there."""
    said = []
    for code in re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), re.DOTALL):
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            cwd=card.parents[1],
            env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8", **environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
    return said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trained", "repo_id"),
    [(None, None), (INST, "someone/parrot")],
    ids=["folder", "hub"],
    indirect=["trained"],
)
def test_the_examples_of_the_card_run_as_they_are_pasted(
    make: Make, trained: Path, tmp_path: Path, repo_id: str | None
) -> None:
    folder = make(repo_id=repo_id)
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules")}
    if repo_id:  # as if it had been downloaded
        cached = tmp_path / "hub/models--someone--parrot"
        (cached / "refs").mkdir(parents=True)
        (cached / "refs/main").write_text("f" * 40)
        shutil.copytree(folder, cached / "snapshots" / ("f" * 40))
        environment["HF_HUB_CACHE"] = str(tmp_path / "hub")
    model, processor = load_model(trained / "model"), load_processor(trained / "model")
    asked = [(str(folder / "example.jpg"), question) for question in ASKED.values()]
    alone = [answers(model, processor, [one])[0] for one in asked]
    one, many = run_examples(folder / "README.md", environment)
    assert one == alone[0].split()
    assert many == " ".join(alone).split()
    assert len(set(alone)) > 1
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    lineage = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["trained"]["commit"] == "c0ffee" * 6
    assert lineage["validated"]["sft"] == {"sha256": "of sft"}
    example = json.loads((folder / "example.json").read_text(encoding="utf-8"))
    assert example == {"image": "example.jpg", "question": ASKED["en"], "answer": alone[0]}


def test_another_answer_in_a_batch_is_found(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(folder: Path, asked: list[Any], place: Path) -> dict[str, list[str]]:
        processor = load_processor(folder)
        processor.tokenizer.padding_side = "right"
        model = load_model(folder)
        alone = [answers(model, processor, [one])[0] for one in asked]
        return {"alone": alone, "together": answers(model, processor, asked)}

    monkeypatch.setattr(stage, "_answers_elsewhere", elsewhere)
    with pytest.raises(ParrotError, match="loaded back and asked together, the package answers"):
        make()
    assert not Path("package").exists()


def test_a_missing_licence_is_said_at_once(make: Make) -> None:
    with pytest.raises(ParrotError, match=r"package\.license_file: 'none\.txt' is no file; name one with"):
        make(license_file="none.txt")


def test_a_pipeline_answers_six_languages_at_once_as_one_by_one(trained: Path) -> None:
    """And each new token costs one position."""
    model, processor = load_model(trained / "model"), load_processor(trained / "model")
    read: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda module, given, made: read.append(made.shape[1]))
    ask = pipeline("image-text-to-text", model=model, processor=processor)
    chats = [
        [{"role": "user", "content": [
            {"type": "image", "image": Image.open(io.BytesIO(picture(number)))},
            {"type": "text", "text": question},
        ]}]
        for number, question in enumerate(ASKED.values())
    ]  # fmt: skip
    options = {"min_new_tokens": 6, "max_new_tokens": 6, "do_sample": False, "return_full_text": False}

    def texts(chats: list[Any], batch_size: int) -> list[str]:
        return [answer[0]["generated_text"] for answer in ask(text=chats, batch_size=batch_size, **options)]

    together = texts(chats, 4)
    assert [length for length in read if length > 1] == [read[0], read[6]]
    assert len(read) == 2 * 6
    assert together == [texts([chat], 1)[0] for chat in chats]
    assert len(set(together)) > 1
