"""A byte-level BPE tokenizer in the form of Qwen2's."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

PAD, TURN_START, TURN_END, IMAGE = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"
SPECIAL = (PAD, TURN_START, TURN_END, IMAGE)


def train_tokenizer(texts: Iterable[str], vocab_size: int, folder: Path) -> Qwen2Tokenizer:
    """Train on what stands between the special tokens of `texts`, save to `folder` and load it back."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    between = re.compile("|".join(map(re.escape, SPECIAL)))
    tokenizer.train_from_iterator((part for text in texts for part in between.split(text) if part), trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(learned["vocab"], ensure_ascii=False), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in learned["merges"])
    (folder / "merges.txt").write_text(merges + "\n", encoding="utf-8")
    loaded = load_tokenizer(folder)
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()
    loaded.save_pretrained(folder)
    return loaded


def load_tokenizer(folder: Path) -> Qwen2Tokenizer:
    """Qwen2's tokenizer with the turn markers of ChatML and the image placeholder."""
    return Qwen2Tokenizer.from_pretrained(
        folder,
        eos_token=TURN_END,
        pad_token=PAD,
        unk_token=PAD,
        additional_special_tokens=[TURN_START, TURN_END],
        extra_special_tokens={"image_token": IMAGE},
    )
