"""A chat in the terminal: one picture, many questions."""

import sys
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor, TextStreamer

import parrot.model  # noqa: F401  (registers the Auto classes)
from parrot.data.images import decode
from parrot.errors import ParrotError


def chat(folder: Path, image: Path | None, prompt: str | None, max_new_tokens: int) -> None:
    """Answer `prompt` and return, or every line of standard input until it ends."""
    if not (folder / "config.json").is_file():
        raise ParrotError(f"{folder}: no model here; `make demo` makes artifacts/package")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    pictures = [decode(_read(image))] if image else []
    messages: list[dict[str, str]] = []
    for question in [prompt] if prompt is not None else _questions():
        content = f"<image>\n{question}" if pictures and not messages else question
        messages.append({"role": "user", "content": content})
        messages.append(
            {"role": "assistant", "content": _answer(model, processor, messages, pictures, max_new_tokens)}
        )


def _answer(
    model: Any, processor: Any, messages: list[dict[str, str]], pictures: list[Any], limit: int
) -> str:
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(images=pictures or None, text=[text], return_tensors="pt")
    streamer = TextStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
    generated = model.generate(**inputs, max_new_tokens=limit, do_sample=False, streamer=streamer)
    return str(
        processor.tokenizer.decode(generated[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    )


def _questions() -> Any:
    """Lines of standard input, prompted for when a person types them."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _read(image: Path) -> bytes:
    try:
        return image.read_bytes()
    except OSError as error:
        raise ParrotError(f"{image}: {error.strerror}") from None
