"""A saved folder carries its own code and works where this project is not installed."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from model_cases import IMAGE_TOKEN, Build, tiny_language_model, tiny_tower
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from parrot.model.registered import ParrotProcessor, build_flamingo

SCRIPT = """
import importlib.util, json, sys
assert not any(importlib.util.find_spec(name) for name in ("parrot", "peft", "pandas", "accelerate"))
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline
folder, picture, chat = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules."), type(model)
assert type(processor).__module__.startswith("transformers_modules."), type(processor)
text = processor.apply_chat_template(chat, add_generation_prompt=True)
inputs = processor(text=text, images=Image.open(picture), return_tensors="pt")
ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0].tolist()
content = [{"type": "image", "image": picture}, {"type": "text", "text": "What is red?"}]
ask = pipeline("image-text-to-text", model=folder, trust_remote_code=True)
messages = [{"role": "user", "content": content}]
answers = ask(text=[messages, messages], batch_size=2, max_new_tokens=8, return_full_text=False)
print(json.dumps({"ids": ids, "answers": [answer[0]["generated_text"] for answer in answers]}))
"""
FILES = {
    "parrot": {
        "chat_format.py", "chat_text.py", "chunking.py", "configuration_parrot.py", "configuration_vlm.py",
        "image_decoding.py", "image_inputs.py", "image_kinds.py", "image_positions.py", "modeling_parrot.py",
        "modeling_vlm.py", "multilingual_moe.py", "places.py", "processing_parrot.py",
    },
    "flamingo": {
        "chat_format.py", "chat_text.py", "chunking.py", "configuration_flamingo.py", "configuration_vlm.py",
        "image_decoding.py", "image_inputs.py", "image_kinds.py", "image_positions.py",
        "modeling_flamingo.py", "modeling_vlm.py", "places.py", "processing_parrot.py",
    },
}  # fmt: skip
CHAT = [{"role": "user", "content": "<image>\nWhat is red?"}]


@pytest.fixture(scope="module")
def bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with transformers, torch, Pillow, what these require, and nothing else."""
    folder = tmp_path_factory.mktemp("site-packages")
    names, wanted = set(), ["transformers", "torch", "pillow"]
    while wanted:
        if (name := canonicalize_name(wanted.pop())) in names:
            continue
        names.add(name)
        distribution = metadata.distribution(name)
        for file in distribution.files or ():
            link = folder / file.parts[0]
            if file.parts[0] != ".." and not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(file.parts[0]))))
        requirements = [Requirement(text) for text in distribution.requires or ()]
        wanted += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return folder


def test_the_code_imports_nothing_of_the_project() -> None:
    folder = Path(__file__).parents[2] / "parrot/model"
    for file in folder.glob("*.py"):
        imports = re.findall(r"^\s*(?:from|import)\s+(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert not [name for name in imports if name.split(".")[0] in ("parrot", "flows")], file


@pytest.mark.parametrize("architecture", FILES)
def test_folder_works_with_transformers_torch_and_pillow_alone(
    build: Build,
    processor: ParrotProcessor,
    bare_environment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
) -> None:
    model: Any = build()
    if architecture == "flamingo":
        model = build_flamingo(tiny_tower(), tiny_language_model(), image_token_id=IMAGE_TOKEN).eval()
        for parameter in model.aligned().parameters():  # opens the gates
            torch.nn.init.normal_(parameter, std=0.3)
        processor = ParrotProcessor(processor.image_processor, processor.tokenizer, image_seq_length=1)
    # `register_for_auto_class` marks the classes; undone here, so that other tests save as before.
    for cls, auto in ((type(model.config), "AutoConfig"), (type(model), "AutoModelForImageTextToText"),
                      (ParrotProcessor, "AutoProcessor")):  # fmt: skip
        monkeypatch.setattr(cls, "_auto_class", auto)
    folder, picture = tmp_path / "model", tmp_path / "picture.png"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGBA", (30, 20), (200, 30, 90, 130)).save(picture, exif=turned)
    assert {file.name for file in folder.glob("*.py")} == FILES[architecture]

    text = processor.apply_chat_template(CHAT, add_generation_prompt=True)
    with Image.open(picture) as image:
        inputs = processor(text=text, images=image, return_tensors="pt")
    expected = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0]
    answer = processor.tokenizer.decode(expected[inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    places = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "PYTHONPATH": str(bare_environment)}
    result = subprocess.run(
        [sys.executable, "-S", "-P", "-c", SCRIPT, folder, picture, json.dumps(CHAT)],
        env=os.environ | places | {"HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.strip().splitlines()[-1])
    assert found == {"ids": expected.tolist(), "answers": [answer, answer]}
