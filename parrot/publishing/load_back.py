"""Load a package the way a stranger does, and answer its example.

Run as a script in a new process: it imports nothing of this project, so that the model can only
come from the code inside the package.
"""

import json
import sys
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor


def load(folder: Path, *, remote_code: bool) -> tuple[Any, Any]:
    """Model and processor of a folder; with `remote_code` by the code inside it."""
    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=remote_code).eval()
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=remote_code)
    if remote_code and not type(model).__module__.startswith("transformers_modules."):
        raise SystemExit(f"{folder}: loaded from {type(model).__module__}, not from the package's own code")
    return model, processor


def answer(model: Any, processor: Any, image: Path, question: str) -> str:
    """The greedy answer to one question about one picture."""
    messages = [{"role": "user", "content": f"<image>\n{question}"}]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(images=[str(image)], text=[prompt], return_tensors="pt")
    generated = model.generate(**inputs, max_new_tokens=32, do_sample=False)
    new = generated[0, inputs["input_ids"].shape[1] :]
    return str(processor.tokenizer.decode(new, skip_special_tokens=True)).strip()


if __name__ == "__main__":
    package, picture_file, text = sys.argv[1:]
    loaded = load(Path(package), remote_code=True)
    print(json.dumps({"answer": answer(*loaded, Path(picture_file), text)}, ensure_ascii=False))
