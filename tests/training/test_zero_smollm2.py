"""A real language model on two ranks under ZeRO-3, whole and by LoRA; what is saved answers elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from real_models import publish_smollm2
from workshop import Workshop

from parrot.backbones.fit import fit

ANSWER = """
import json, sys
from pathlib import Path
from PIL import Image
from parrot.loading import load_model, load_processor

folder = Path(sys.argv[1])
model, processor = load_model(folder), load_processor(folder)
questions = ["<image>\\nWhat is it?", "<image>\\n<image>\\nWhat are they?", "What is the capital of France?"]
chats = [[{"role": "user", "content": question}] for question in questions]
images = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
inputs = processor(
    text=[processor.apply_chat_template(chat, add_generation_prompt=True) for chat in chats],
    images=images, padding=True, padding_side="left", return_tensors="pt",
)
ids = model.generate(**inputs, max_new_tokens=12, do_sample=False)
print(json.dumps(processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)))
"""


@pytest.mark.slow
def test_zero3_of_smollm2(tmp_path: Path) -> None:
    publish_smollm2(tmp_path / "published")
    fit(str(tmp_path / "published"), None, tmp_path / "language")
    (tmp_path / "ranks").mkdir()
    workshop = Workshop(tmp_path / "ranks", tmp_path / "language")
    training = {"batch_size": 2, "launch": {"processes": 2}}
    kinds = {"whole": False, "adapters": True}
    cases = [
        workshop.case(kind, "sft", "parrot", moe=True, lora=lora, deepspeed="zero3", training=training)
        for kind, lora in kinds.items()
    ]
    done = workshop.on_ranks(cases)
    assert done.returncode == 0, done.stderr[-3000:]
    for kind, lora in kinds.items():
        workshop.alone(workshop.case(f"alone-{kind}", "sft", "parrot", moe=True, lora=lora))
        assert workshop.losses(kind) == pytest.approx(workshop.losses(f"alone-{kind}"), rel=1e-4)
        answers = [_answer(workshop.folder / name / "output") for name in (kind, f"alone-{kind}")]
        assert len(answers[0]) == 3 and any(answers[0])
        assert answers[0] == answers[1]


def _answer(folder: Path) -> list[str]:
    """In a process that has seen nothing of the training."""
    done = subprocess.run([sys.executable, "-c", ANSWER, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    answers: list[str] = json.loads(done.stdout.splitlines()[-1])
    return answers
