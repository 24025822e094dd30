"""A saved folder carries its own code and works where this project is not installed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from model_cases import IMAGE_TOKEN, Build, tiny_language_model, tiny_tower
from PIL import Image

from parrot.model import ParrotProcessor, build_flamingo

SCRIPT = """
import json, sys
sys.modules["parrot"] = None  # so that every import of the project fails
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
folder, picture, chat = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules."), type(model)
assert type(processor).__module__.startswith("transformers_modules."), type(processor)
text = processor.apply_chat_template(chat, add_generation_prompt=True)
inputs = processor(text=text, images=Image.open(picture), return_tensors="pt")
print(json.dumps(model.generate(**inputs, max_new_tokens=8, do_sample=False)[0].tolist()))
"""
FILES = {
    "parrot": {
        "configuration_parrot.py", "configuration_vlm.py", "modeling_parrot.py", "modeling_vlm.py",
        "multilingual_moe.py", "processing_parrot.py",
    },
    "flamingo": {
        "configuration_flamingo.py", "configuration_vlm.py", "modeling_flamingo.py", "modeling_vlm.py",
        "processing_parrot.py",
    },
}  # fmt: skip
CHAT = [{"role": "user", "content": "<image>\nWhat is red?"}]


def test_the_code_imports_nothing_of_the_project() -> None:
    folder = Path(__file__).parents[2] / "parrot/model"
    for file in folder.glob("*.py"):
        imports = re.findall(r"^\s*(?:from|import)\s+(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert not [name for name in imports if name.split(".")[0] in ("parrot", "flows")], file


@pytest.mark.parametrize("architecture", FILES)
def test_folder_works_without_the_project(
    build: Build,
    processor: ParrotProcessor,
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
    Image.new("RGB", (30, 20), (200, 30, 90)).save(picture)
    assert {file.name for file in folder.glob("*.py")} == FILES[architecture]

    text = processor.apply_chat_template(CHAT, add_generation_prompt=True)
    with Image.open(picture) as image:
        inputs = processor(text=text, images=image, return_tensors="pt")
    expected = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0].tolist()
    result = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, folder, picture, json.dumps(CHAT)],
        env=os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.strip().splitlines()[-1]) == expected
