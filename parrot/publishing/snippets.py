"""Examples for the model card: Python that runs as it is pasted."""

import json
from collections.abc import Sequence
from pathlib import Path


def ask_one(repo_id: str | None, folder: Path, image: str, question: str) -> str:
    """One question, by `generate`.

    Args:
        repo_id: of the package on the Hub, if it has one; else `folder` is read.
        image: its file in the package.
    """
    return f"""\
{_beginning("AutoModelForImageTextToText, AutoProcessor", repo_id, folder)}
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
content = [
    {{"type": "image", "image": f"{{folder}}/{image}"}},
    {{"type": "text", "text": {_literal(question)}}},
]
inputs = processor.apply_chat_template(
    [{{"role": "user", "content": content}}],
    add_generation_prompt=True,
    tokenize=True,
    return_dict=True,
    processor_kwargs={{"return_tensors": "pt"}},
)
generated = model.generate(**inputs, max_new_tokens=64, do_sample=False)
print(processor.decode(generated[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""


def ask_many(repo_id: str | None, folder: Path, image: str, questions: Sequence[str]) -> str:
    """Several questions at once, by `pipeline`; arguments as of `ask_one`."""
    listed = "".join(f"    {_literal(question)},\n" for question in questions)
    return f"""\
{_beginning("pipeline", repo_id, folder)}
ask = pipeline("image-text-to-text", model=folder, trust_remote_code=True)
image = {{"type": "image", "image": f"{{folder}}/{image}"}}
questions = [
{listed}]
chats = [
    [{{"role": "user", "content": [image, {{"type": "text", "text": question}}]}}] for question in questions
]
for answer in ask(text=chats, batch_size=4, max_new_tokens=64, do_sample=False, return_full_text=False):
    print(answer[0]["generated_text"])
"""


def _beginning(imports: str, repo_id: str | None, folder: Path) -> str:
    hub = "from huggingface_hub import snapshot_download\n" if repo_id else ""
    place = f"snapshot_download({_literal(repo_id)})" if repo_id else _literal(folder.as_posix())
    return f"{hub}from transformers import {imports}\n\nfolder = {place}"


def _literal(text: str) -> str:
    """As a string of Python, which a string of JSON is."""
    return json.dumps(text, ensure_ascii=False)
