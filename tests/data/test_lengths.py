"""Lengths in positions of the model, against what its own processor makes of the same records."""

import gzip
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal
from unicodedata import category, is_normalized

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sources import MODEL, PER_IMAGE, small_backbones
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoImageProcessor, AutoTokenizer, PreTrainedTokenizerFast, SiglipVisionConfig

from parrot.config import FlamingoArchitecture
from parrot.data.columns import Talks, talks
from parrot.data.lengths import Fit, Ruler, fit_all
from parrot.data.records import RECORD_SCHEMA, Message
from parrot.data.rejects import Rejected
from parrot.errors import ParrotError
from parrot.model.chat_text import BREAK
from parrot.model.processing_parrot import ParrotProcessor
from parrot.training.conversations import ConversationCollator

QWEN = Path(__file__).parents[2] / "../shared/reference/real-data/qwen_tokenizer"
FLAMINGO = FlamingoArchitecture(
    architecture="flamingo", vision_feature_layer=-1, max_length=512, resampler_n_latents=2,
    resampler_depth=1, cross_layer_interval=1,
)  # fmt: skip
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_backbones(tmp_path_factory.mktemp("small") / "backbones")


@pytest.fixture(scope="module")
def ruler(backbones: dict[str, Path]) -> Ruler:
    return Ruler(MODEL, **backbones)


def talk(*texts: str, system: str = "") -> tuple[Message, ...]:
    lead = (Message("system", system),) if system else ()
    turns = (Message("assistant" if place % 2 else "user", text) for place, text in enumerate(texts))
    return (*lead, *turns)


def stored(*conversations: tuple[Message, ...]) -> Talks:
    rows = [[asdict(message) for message in messages] for messages in conversations]
    return talks(pa.chunked_array([pa.array(rows, RECORD_SCHEMA.field("messages").type)]))


def at_most(ruler: Ruler, turns: tuple[Message, ...]) -> int:
    [found] = ruler.at_most(stored(turns))
    assert isinstance(found, int)
    return found


def sizes(ruler: Ruler, texts: list[str]) -> list[int]:
    """Of each text alone."""
    return [int(ruler._sizes(pa.array([text]), np.zeros(1, np.int64))[0]) for text in texts]


def fit(turns: tuple[Message, ...], ruler: Ruler, max_length: int, too_long: Literal["drop", "cut"]) -> Fit:
    [found] = fit_all(stored(turns), ruler, max_length, too_long)
    if isinstance(found, Rejected):
        raise found
    return found


def measured(ruler: Ruler, turns: tuple[Message, ...]) -> int:
    [found] = ruler.measure(turns)
    assert isinstance(found, int)
    return found


def positions(turns: tuple[Message, ...], backbones: dict[str, Path], per_image: int = PER_IMAGE) -> int:
    """As training counts them."""
    processor = ParrotProcessor(
        image_processor=AutoImageProcessor.from_pretrained(backbones["vision"], backend="pil"),
        tokenizer=AutoTokenizer.from_pretrained(backbones["language"]),
        image_seq_length=per_image,
    )
    messages = [{"role": message.role, "content": message.content} for message in turns]
    count = sum(message.content.count("<image>") for message in turns)
    pictures = [PIL.Image.new("RGB", (8, 8))] * count
    return processor.encode_conversations([messages], [pictures], 10_000)["input_ids"].shape[1]


TALKS = [
    talk("What is it?", "Number one."),
    talk("<image>\nWhat is it?", "É o número 1 – 是。"),
    talk("<image>", "It.", "Left: <image> Right: <image>?", "Yes.", system="Say it in one word."),
]


@pytest.mark.parametrize("item", TALKS)
def test_positions_are_those_of_training(
    item: tuple[Message, ...], ruler: Ruler, backbones: dict[str, Path]
) -> None:
    assert measured(ruler, item) == positions(item, backbones)
    flamingo = Ruler(FLAMINGO, **backbones)
    assert measured(flamingo, item) == positions(item, backbones, per_image=1)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="<"), min_size=1, max_size=60)


@given(texts=st.lists(TEXTS, min_size=2, max_size=6), system=st.text("ab \n", max_size=9))
@settings(max_examples=100, deadline=None)
def test_the_quick_bound_is_never_too_low(ruler: Ruler, texts: list[str], system: str) -> None:
    item = talk(*texts, system=system)
    assert measured(ruler, item) <= at_most(ruler, item)


def other_tokenizers(folder: Path) -> Iterator[PreTrainedTokenizerFast]:
    """As Llama's and Gemma's (spaces written as ▁, unknown characters as bytes), and one that decomposes."""
    words = [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", *"abcdefghijklmnopqrstuvwxyz\n"]
    vocab = {word: number for number, word in enumerate([*SPECIAL, *words])}
    for normalizer in (
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        normalizers.Sequence([normalizers.NFKD(), normalizers.Replace(" ", "▁")]),
    ):
        backend = Tokenizer(models.BPE(vocab, [], byte_fallback=True, unk_token=None))
        backend.normalizer = normalizer
        backend.decoder = decoders.ByteFallback()
        yield PreTrainedTokenizerFast(
            tokenizer_object=backend, additional_special_tokens=SPECIAL, pad_token="<|endoftext|>"
        )
    if QWEN.is_dir():
        for name in ("vocab.json", "merges.txt"):
            (folder / name).write_bytes(gzip.decompress((QWEN / f"{name}.gz").read_bytes()))
        backend = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
        backend.normalizer = normalizers.NFC()
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        yield PreTrainedTokenizerFast(
            tokenizer_object=backend, additional_special_tokens=SPECIAL, pad_token="<|endoftext|>"
        )


def other_rulers(backbones: dict[str, Path], folder: Path) -> Iterator[Ruler]:
    for number, tokenizer in enumerate(other_tokenizers(folder)):
        language = folder / str(number)
        tokenizer.save_pretrained(language)
        config = json.loads((backbones["language"] / "config.json").read_text(encoding="utf-8"))
        (language / "config.json").write_text(json.dumps(config | {"vocab_size": len(tokenizer)}))
        yield Ruler(MODEL, backbones["vision"], language)


def test_the_bound_holds_for_other_tokenizers(backbones: dict[str, Path], tmp_path: Path) -> None:
    texts = ["\ufdfa" * 20, "a" * 50, "  \n\n x", "é是🙂" * 9, "What is it?", "e\u0301\u0327" * 5, " "]
    for ruler in other_rulers(backbones, tmp_path):
        for text in texts:
            item = talk(f"<image>\n{text}", f"{text}!", system=text)
            assert measured(ruler, item) <= at_most(ruler, item)


def test_a_cut_leaves_as_many_whole_turns_as_fit(ruler: Ruler) -> None:
    turns = talk("<image>\nOne?", "Yes.", "Two? " * 9, "No.", "<image> or <image>?", "Both.", system="Say.")
    whole = measured(ruler, turns)
    for limit in range(measured(ruler, turns[:3]), whole):
        kept = fit(turns, ruler, limit, "cut")
        assert kept.turns in (3, 5)
        assert kept.positions == measured(ruler, turns[: kept.turns]) <= limit
        assert kept.cut.startswith(
            f"cut: {whole} positions, more than model.max_length = {limit}; left out: "
        )
        assert measured(ruler, turns[: kept.turns + 2]) > limit
    assert fit(turns, ruler, whole, "cut") == fit(turns, ruler, whole, "drop") == Fit(7, whole)
    problem = f"messages: too long: {whole} positions, more than model.max_length = {whole - 1}"
    with pytest.raises(Rejected, match=problem):
        fit(turns, ruler, whole - 1, "drop")
    with pytest.raises(Rejected, match="too long: "):
        fit(turns, ruler, measured(ruler, turns[:3]) - 1, "cut")


def test_many_together_are_what_each_is_alone(ruler: Ruler) -> None:
    texts = [("What?", "A word. " * number) for number in (1, 90, 2, 40, 60)]
    items = [*(talk(*pair) for pair in texts), talk(*texts[1], "And?", "No."), talk("A", *texts[0], "B")]
    alone = [found for item in items for found in fit_all(stored(item), ruler, 300, "cut")]
    assert list(map(str, fit_all(stored(*items), ruler, 300, "cut"))) == list(map(str, alone))
    assert {type(found) for found in alone} == {Fit, Rejected}


def test_ascii_is_not_normalized_where_that_changes_nothing(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    item = talk("What is  it?\n", "~ It's 7. ", "<image>", "e\u0301")
    for ruler in other_rulers(backbones, tmp_path):
        bound = at_most(ruler, item)
        ruler._keeps_ascii = False
        assert at_most(ruler, item) == bound


def test_what_is_composed_is_not_normalized(
    ruler: Ruler, backbones: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Python's tables a text is composed where it is by the tokenizer's."""
    assert ruler._replaced == [BREAK]
    for one in (ruler, *other_rulers(backbones, tmp_path)):
        texts = ["e\u0301", f"é{BREAK}", "\ufdfa ▁é", "é"]
        for start in range(0xA0, sys.maxunicode, 500):
            alone = (chr(number) for number in range(start, min(start + 500, sys.maxunicode)))
            letters = [each for each in alone if category(each) not in ("Cs", "Cn")]
            texts += (
                "a".join(letters),
                "".join(letters),
                "".join(x for x in letters if is_normalized("NFC", x)),
            )
        quick = sizes(one, texts)
        monkeypatch.setattr(one, "_replaced", None)
        assert quick == sizes(one, texts)


def test_what_surely_fits_is_not_encoded(ruler: Ruler) -> None:
    short = talk("a", "b")
    assert measured(ruler, short) < (bound := at_most(ruler, short)) < 512
    assert fit(short, ruler, 512, "cut") == Fit(2, bound)


def test_backbones_that_are_missing_or_not_supported_are_named(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ParrotError, match=r"nowhere: not found; run the stage backbone"):
        Ruler(MODEL, tmp_path / "nowhere", backbones["language"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ParrotError, match=r"model: .*empty"):
        Ruler(MODEL, backbones["vision"], tmp_path / "empty")
    headless = SiglipVisionConfig(num_hidden_layers=1, vision_use_head=False)
    headless.save_pretrained(tmp_path / "siglip")
    with pytest.raises(ParrotError, match="vision_use_head is false"):
        Ruler(MODEL, tmp_path / "siglip", backbones["language"])


def test_training_names_the_one_record_that_is_too_long(backbones: dict[str, Path]) -> None:
    processor = ParrotProcessor(
        image_processor=AutoImageProcessor.from_pretrained(backbones["vision"], backend="pil"),
        tokenizer=AutoTokenizer.from_pretrained(backbones["language"]),
        image_seq_length=PER_IMAGE,
    )
    rows = [
        {"id": f"r{number}", "source": "talk", "images": [], "messages": [
            {"role": "user", "content": "a"}, {"role": "assistant", "content": "b" * (400 * (number == 2))},
        ]}
        for number in range(4)
    ]  # fmt: skip
    with pytest.raises(ParrotError, match=r"^record r2 of talk: .* more than max_length = 100"):
        ConversationCollator(processor, 100)(rows)
