"""Load a package the way a stranger does, and answer questions about pictures, one by one and all at once.

Run as a script in a new process: it imports nothing of this project, so that the model can only
come from the code inside the package.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor


def answers(model: Any, processor: Any, asked: Sequence[tuple[str, str]]) -> list[str]:
    """The greedy answers to questions, each about the picture in a file; asked in one batch.

    Args:
        asked: file and question.
    """
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": file}, {"type": "text", "text": question}]}]
        for file, question in asked
    ]
    inputs = processor.apply_chat_template(
        chats,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        processor_kwargs={"return_tensors": "pt", "padding": True},
    )
    generated = model.generate(**inputs, max_new_tokens=64, do_sample=False)
    texts = processor.batch_decode(generated[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [str(text).strip() for text in texts]


def _load(name: str) -> tuple[Any, Any]:
    """Of a folder, or of a repository of the Hub."""
    # In half precision the likeliest token may be another one in a batch than alone.
    model = AutoModelForImageTextToText.from_pretrained(name, trust_remote_code=True, dtype=torch.float32)
    if not type(model).__module__.startswith("transformers_modules."):
        raise SystemExit(f"{name}: loaded from {type(model).__module__}, not from the package's own code")
    return model.eval(), AutoProcessor.from_pretrained(name, trust_remote_code=True)


if __name__ == "__main__":
    package, questions = sys.argv[1], json.loads(sys.argv[2])
    loaded = _load(package)
    alone = [answers(*loaded, [question])[0] for question in questions]
    print(json.dumps({"alone": alone, "together": answers(*loaded, questions)}, ensure_ascii=False))
