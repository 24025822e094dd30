"""Made-up records as long as those of LLaVA-1.5's 665,298, and small backbones to train on them.

What each of their sources gives is published (arXiv 2310.03744, table 7); how long its texts are is not, and
was estimated from what a record of it holds: so many questions of so many words. Texts are words of no
meaning, one token each; pictures are of a photograph's size, and as costly to decode.
"""

import io
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Picture
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from parrot.data.records import IMAGE_TOKEN, Image, Message, Record, text_length
from parrot.data.shards import Indexed, RecordDataset, index_table, write_index, write_shard

MAX_LENGTH, IMAGE_POSITIONS = 2048, 577
VOCABULARY = 32_000
SHARD = "made-up/part-00000.parquet"
CONTROL = ("<unk>", "<|im_start|>", "<|im_end|>", IMAGE_TOKEN)


@dataclass(frozen=True)
class Source:
    """What a data set gives to the mix, and what a record of it holds."""

    thousands: int
    """Of records."""
    turns: int
    """Questions with an answer."""
    question: int
    answer: int
    """Words, in the median."""
    pictures: int = 1


SOURCES = {
    "LLaVA": Source(158, 2, 15, 80),
    "ShareGPT": Source(40, 4, 60, 250, pictures=0),
    "VQAv2": Source(83, 5, 15, 2),
    "GQA": Source(72, 10, 15, 2),
    "OKVQA": Source(9, 1, 20, 2),
    "OCRVQA": Source(80, 5, 15, 6),
    "A-OKVQA": Source(66, 1, 60, 2),
    "TextCaps": Source(22, 1, 60, 15),
    "RefCOCO": Source(48, 6, 20, 20),
    "VG": Source(86, 8, 25, 12),
}
SPREAD = 0.5
"""Standard deviation of the logarithm of a text's words: a few are several times as long as the median."""


def make_records(count: int, seed: int = 1) -> list[Record]:
    """So many, in random order, each source with its share."""
    draw = random.Random(seed)
    weights = [source.thousands for source in SOURCES.values()]
    names = draw.choices(list(SOURCES), weights, k=count)
    return [_record(name, number, draw) for number, name in enumerate(names)]


def _record(name: str, number: int, draw: random.Random) -> Record:
    source = SOURCES[name]
    stretch = min(5.0, draw.lognormvariate(0, SPREAD))  # people who write much write much in each turn
    messages: list[Message] = []
    for turn in range(source.turns):
        shown = f"{IMAGE_TOKEN}\n" * source.pictures if turn == 0 else ""
        messages.append(Message("user", shown + _words(source.question * stretch, draw)))
        messages.append(Message("assistant", _words(source.answer * stretch, draw)))
    pictures = tuple(Image(f"{number}.jpg", _photograph(draw)) for _ in range(source.pictures))
    while positions(tuple(messages), source.pictures) > MAX_LENGTH:  # the stage mix cuts whole turns
        del messages[-2:]
    return Record(str(number), name, "en", tuple(messages), pictures)


def _words(count: float, draw: random.Random) -> str:
    return " ".join(f"w{draw.randrange(VOCABULARY - 100)}" for _ in range(max(1, round(count))))


def _photograph(draw: random.Random) -> bytes:
    """A JPEG of 640 × 480: smooth, with some noise."""
    rng = np.random.default_rng(draw.randrange(2**32))
    coarse = Picture.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((640, 480))
    noisy = np.asarray(coarse, dtype=np.int16) + rng.integers(-12, 13, (480, 640, 3))
    file = io.BytesIO()
    Picture.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def positions(messages: tuple[Message, ...], pictures: int) -> int:
    """What `make_tokenizer` and ChatML make of them: a system turn of eight, three around each other one."""
    texts = (message.content.replace(IMAGE_TOKEN, "") for message in messages)
    return 8 + pictures * IMAGE_POSITIONS + sum(len(text.split()) + 3 for text in texts)


def write_records(folder: Path, count: int) -> None:
    """As the stages prepare and mix leave them: `prepared` and `mixture`."""
    records = make_records(count)
    (folder / "prepared" / SHARD).parent.mkdir(parents=True)
    (folder / "mixture").mkdir()
    write_shard(folder / "prepared" / SHARD, records)
    rows = [
        Indexed(
            SHARD, row, record.id, record.source, record.language, text_length(record.messages),
            positions(record.messages, len(record.images)), 1, len(record.messages),
        )
        for row, record in enumerate(records)
    ]  # fmt: skip
    write_index(folder / "mixture", [index_table(rows)])


def open_records(folder: Path) -> RecordDataset:
    return RecordDataset(folder / "prepared", folder / "mixture")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each word that the records can hold."""
    known = [*CONTROL, "user", "assistant", "system"]
    words = [f"w{number}" for number in range(VOCABULARY - len(known))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known + words)}, CONTROL[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    unknown, start, end, image = CONTROL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=unknown, pad_token=end, eos_token=end,
        additional_special_tokens=[start, image], extra_special_tokens={"image_token": image},
    )  # fmt: skip


def make_image_processor() -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})


def make_backbones() -> tuple[CLIPVisionModel, Qwen2ForCausalLM]:
    """Random weights, each time the same."""
    torch.manual_seed(0)
    size = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    tower = CLIPVisionModel(CLIPVisionConfig(**size, intermediate_size=1024, image_size=336, patch_size=14))
    language_model = Qwen2ForCausalLM(
        Qwen2Config(
            **size, vocab_size=VOCABULARY, intermediate_size=704, num_key_value_heads=4,
            bos_token_id=None, eos_token_id=None, pad_token_id=2,
        )
    )  # fmt: skip
    return tower, language_model
