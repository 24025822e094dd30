"""Records to measure the preparation of data with: half of them in letters, half in Chinese characters."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

LANGUAGES = ["en", "zh"]
WORDS = 120
"""Median length of a record, in words; a tenth has more than four times as many."""
VOCABULARY = 6000
DUPLICATES = 200
"""Every so manieth record was there before."""
QUESTIONS = 2000
"""Of the benchmark."""


def vocabulary(language: str) -> list[str]:
    draw = random.Random(language)
    letters, lengths = "etaoinshrdlucmfw", [2, 3, 4, 5, 7, 9]
    if language == "zh":
        letters, lengths = "".join(map(chr, range(0x4E00, 0x4E00 + 2000))), [1, 2, 2, 3]
    return ["".join(draw.choices(letters, k=draw.choice(lengths))) for _ in range(5000)]


def records(count: int, language: str) -> Iterator[dict[str, Any]]:
    draw, words = random.Random(language), vocabulary(language)
    entry: dict[str, Any] = {}
    for number in range(count):
        if number % DUPLICATES:
            length = 4 + int(draw.lognormvariate(0, 1.1) * WORDS)
            text = draw.choices(words, k=min(length, 20 * WORDS))
            cut = max(1, len(text) // 4)
            talk = [("human", text[:cut]), ("gpt", [*text[cut:], str(number)])]
            turns = [{"from": who, "value": " ".join(said)} for who, said in talk]
            entry = {"id": f"{language}{number:09d}", "conversations": turns}
        yield entry or {"id": language, "conversations": [{"from": "human", "value": f"Is it {language}?"},
                                                          {"from": "gpt", "value": "It is."}]}  # fmt: skip


def _write_records(folder: Path, count: int, language: str) -> None:
    with (folder / f"{language}.jsonl").open("w") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in records(count, language))


def make_inputs(folder: Path, count: int) -> None:
    """A file for each language, a benchmark, and backbones without weights."""
    from transformers import CLIPVisionConfig, Qwen2Config

    from examples.picture_world.backbones.train_tokenizer import train_tokenizer

    (folder / "talk").mkdir()
    with ProcessPoolExecutor(len(LANGUAGES)) as pool:
        list(pool.map(partial(_write_records, folder / "talk", count // len(LANGUAGES)), LANGUAGES))
    (folder / "benchmark").mkdir()
    draw, words = random.Random("benchmark"), vocabulary("en")
    rows = [[str(number), "0", *(" ".join(draw.choices(words, k=size)) for size in (12, 4, 4, 4, 4))]
            for number in range(QUESTIONS)]  # fmt: skip
    header = ["index", "image", "question", *"ABCD"]
    (folder / "benchmark" / "en.tsv").write_text("".join("\t".join(row) + "\n" for row in [header, *rows]))
    CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
                     image_size=16, patch_size=8).save_pretrained(folder / "vision")  # fmt: skip
    language = folder / "language"
    Qwen2Config(vocab_size=VOCABULARY, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                num_attention_heads=1, num_key_value_heads=1).save_pretrained(language)  # fmt: skip
    texts = [turn["value"] for language_ in LANGUAGES for entry in records(1000, language_)
             for turn in entry["conversations"]]  # fmt: skip
    train_tokenizer(texts, VOCABULARY, language).save_pretrained(language)
