"""Lengths in positions of the model, against what its own processor makes of the same records."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sources import MODEL, PER_IMAGE, picture, small_backbones
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoImageProcessor, AutoTokenizer, PreTrainedTokenizerFast, SiglipVisionConfig

from parrot.data.lengths import Ruler, Shortened, fitted
from parrot.data.records import Image, Message, Record, Reject
from parrot.errors import ParrotError
from parrot.model.processing_parrot import ParrotProcessor
from parrot.training.conversations import ConversationCollator

QWEN = Path(__file__).parents[2] / "../shared/reference/real-data/qwen_tokenizer"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_backbones(tmp_path_factory.mktemp("small") / "backbones")


@pytest.fixture(scope="module")
def ruler(backbones: dict[str, Path]) -> Ruler:
    return Ruler(MODEL, **backbones)


def record(*texts: str, system: str = "", name: str = "r1") -> Record:
    lead = (Message("system", system),) if system else ()
    turns = (Message("assistant" if place % 2 else "user", text) for place, text in enumerate(texts))
    count = sum(text.count("<image>") for text in texts)
    images = tuple(Image(f"{number}.jpg", picture(number)) for number in range(count))
    return Record(name, "talk", "en", (*lead, *turns), images)


def positions(record: Record, backbones: dict[str, Path], per_image: int = PER_IMAGE) -> int:
    """As training counts them."""
    processor = ParrotProcessor(
        image_processor=AutoImageProcessor.from_pretrained(backbones["vision"], backend="pil"),
        tokenizer=AutoTokenizer.from_pretrained(backbones["language"]),
        image_seq_length=per_image,
    )
    messages = [{"role": message.role, "content": message.content} for message in record.messages]
    pictures = [PIL.Image.new("RGB", (8, 8)) for _ in record.images]
    return processor.encode_conversations([messages], [pictures], 10_000)["input_ids"].shape[1]


RECORDS = [
    record("What is it?", "Number one."),
    record("<image>\nWhat is it?", "É o número 1 – 是。"),
    record("<image>", "It.", "Left: <image> Right: <image>?", "Yes.", system="Say it in one word."),
]


@pytest.mark.parametrize("item", RECORDS)
def test_positions_are_those_of_training(item: Record, ruler: Ruler, backbones: dict[str, Path]) -> None:
    assert ruler.measure(item) == positions(item, backbones)
    flamingo = Ruler(MODEL.model_copy(update={"architecture": "flamingo"}), **backbones)
    assert flamingo.measure(item) == positions(item, backbones, per_image=1)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="<"), min_size=1, max_size=60)


@given(texts=st.lists(TEXTS, min_size=2, max_size=6), system=st.text("ab \n", max_size=9))
@settings(max_examples=100, deadline=None)
def test_the_quick_bound_is_never_too_low(ruler: Ruler, texts: list[str], system: str) -> None:
    item = record(*texts, system=system)
    assert ruler.measure(item) <= ruler.at_most(item)


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


def test_the_bound_holds_for_other_tokenizers(backbones: dict[str, Path], tmp_path: Path) -> None:
    texts = ["\ufdfa" * 20, "a" * 50, "  \n\n x", "é是🙂" * 9, "What is it?", "e\u0301\u0327" * 5, " "]
    for number, tokenizer in enumerate(other_tokenizers(tmp_path)):
        folder = tmp_path / str(number)
        tokenizer.save_pretrained(folder)
        config = json.loads((backbones["language"] / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | {"vocab_size": len(tokenizer)}))
        ruler = Ruler(MODEL, backbones["vision"], folder)
        for text in texts:
            item = record(f"<image>\n{text}", f"{text}!", system=text)
            assert ruler.measure(item) <= ruler.at_most(item)


def fit(ruler: Ruler, items: list[Record | Reject], limit: int, cut: bool = True) -> list[Record | Reject]:
    return list(fitted(iter(items), ruler, limit, "cut" if cut else "drop"))


def test_a_cut_leaves_as_many_whole_turns_as_fit(ruler: Ruler) -> None:
    talk = record("<image>\nOne?", "Yes.", "Two? " * 9, "No.", "<image> or <image>?", "Both.", system="Say.")
    whole = ruler.measure(talk)
    for limit in range(ruler.measure(record("<image>\nOne?", "Yes.", system="Say.")), whole):
        note, kept = fit(ruler, [talk], limit)
        assert isinstance(note, Shortened)
        assert isinstance(kept, Record)
        pairs = len(kept.messages) // 2
        assert kept.messages == talk.messages[: 1 + 2 * pairs]
        assert kept.images == talk.images[: 1 if pairs < 3 else 3]
        assert kept.positions == ruler.measure(kept) <= limit
        longer = record(*(turn.content for turn in talk.messages[1 : 3 + 2 * pairs]), system="Say.")
        assert ruler.measure(longer) > limit
    assert fit(ruler, [talk], whole) == [replace(talk, positions=whole)]
    [dropped] = fit(ruler, [talk], whole - 1, cut=False)
    assert dropped == Reject(
        "talk", "r1", "messages", f"too long: {whole} positions, more than model.max_length = {whole - 1}"
    )


def test_order_and_other_rejects_are_kept(ruler: Ruler) -> None:
    items: list[Record | Reject] = [
        record("a", "b", name="r0"), Reject("talk", "r1", "image", "missing image: x"),
        record("a " * 500, "b", name="r2"), record("c", "d", name="r3"),
    ]  # fmt: skip
    first, second, third, fourth = fit(ruler, items, 120)
    assert [first.id, fourth.id] == ["r0", "r3"]  # type: ignore[union-attr]
    assert second == items[1]
    assert isinstance(third, Reject)
    assert third.reason.startswith("too long: ")


def test_backbones_that_are_missing_or_not_supported_are_named(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ParrotError, match=r"nowhere: not found; run the stages backbones"):
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
