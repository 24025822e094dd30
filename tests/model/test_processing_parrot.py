"""The chat template, what is learned, pictures, and equality of the quick way with transformers' own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_cases import IMAGE_TOKEN, Build
from PIL import Image
from transformers import AutoProcessor, Qwen2Tokenizer, SiglipImageProcessorPil

from parrot.model.chat_text import encode_texts
from parrot.model.registered import ParrotProcessor

Chat = list[dict[str, Any]]


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
CHATS: list[Chat] = [
    [user("<image>\nWhat is red?"), assistant("This.")],
    [
        user("Что это?"),
        assistant(" Шар. "),
        user("<image>\n这是什么？"),
        assistant("球。"),
        user("<image>?"),
        assistant(""),
    ],
    [{"role": "system", "content": "Be brief."}, user("ما هذا؟"), assistant("كرة\n\nحمراء")],
    [user("A <image> in the middle\n and <image><image>"), assistant("é e\u0301 👍🏽")],
]
PICTURES = [1, 2, 0, 3]


def pictures(count: int) -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [
        Image.fromarray(draw.integers(0, 256, (20 + 9 * i, 41 - 5 * i, 3), dtype=np.uint8))
        for i in range(count)
    ]


def images_of_chats() -> list[list[Image.Image]]:
    every = iter(pictures(sum(PICTURES)))
    return [[next(every) for _ in range(count)] for count in PICTURES]


def test_chat_template(processor: ParrotProcessor) -> None:
    first, second, third, _ = (processor.apply_chat_template(chat) for chat in CHATS)
    assert first == (
        SYSTEM + "<|im_start|>user\n<image>\nWhat is red?<|im_end|>\n<|im_start|>assistant\nThis.<|im_end|>"
    )
    assert second.startswith(
        SYSTEM + "<|im_start|>user\nЧто это?<|im_end|>\n<|im_start|>assistant\n Шар. <|im_end|>\n<|im_s"
    )
    assert third.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    prompt = processor.apply_chat_template([user("Hi")], add_generation_prompt=True)
    assert prompt == SYSTEM + "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    opened = processor.apply_chat_template([user("Hi"), assistant("It is")], continue_final_message=True)
    assert opened == prompt + "It is"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<image>\nWhat?", ["<image>", "What?"]),
        ("<image>\nWhat?", ["<image>", "\nWhat?"]),
        ("<image> and <image>\nWhat?", ["<image>", " and ", "<image>", "What?"]),
        ("<image><image>\nWhat?", ["<image>", "<image>", "What?"]),
        ("See <image>", ["See ", "<image>"]),
        ("Only words", ["Only words"]),
    ],
)
def test_content_as_a_string_and_as_parts(processor: ParrotProcessor, text: str, parts: list[str]) -> None:
    listed = [{"type": "image"} if part == "<image>" else {"type": "text", "text": part} for part in parts]
    assert processor.apply_chat_template([user(listed)]) == processor.apply_chat_template([user(text)])


def test_batches_equal_the_chat_template_of_transformers(processor: ParrotProcessor) -> None:
    images = images_of_chats()
    batch = processor.encode_conversations(CHATS, images, max_length=512)
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    assert batch["pixel_values"].shape == (6, 3, 28, 28)
    first_image = 0
    for row, (chat, own) in enumerate(zip(CHATS, images, strict=True)):
        expected = processor.apply_chat_template(
            [chat],
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            processor_kwargs={"return_tensors": "pt", **({"images": [own]} if own else {})},
        )
        length = int(batch["attention_mask"][row].sum())
        assert batch["input_ids"][row, :length].tolist() == expected["input_ids"][0].tolist()
        learned = torch.tensor(expected["assistant_masks"][0]).bool()
        wanted = expected["input_ids"][0].masked_fill(~learned, -100)
        assert batch["labels"][row, :length].tolist() == wanted.tolist()
        assert (batch["labels"][row, length:] == -100).all()
        assert (batch["input_ids"][row, length:] == processor.tokenizer.pad_token_id).all()
        if own:
            rows = batch["pixel_values"][first_image : first_image + len(own)]
            assert torch.equal(rows, expected["pixel_values"])
            first_image += len(own)


def test_what_is_learned(processor: ParrotProcessor) -> None:
    chat = [user("What is red?"), assistant("This."), user("And?"), assistant("That.")]
    ids, labels = encode_texts(processor.tokenizer, [chat])[0]
    assert processor.tokenizer.decode(labels[labels != -100]) == "This.<|im_end|>\nThat.<|im_end|>"
    assert (labels[labels != -100] == ids[labels != -100]).all()


def test_a_token_of_header_and_answer_is_not_learned(processor: ParrotProcessor) -> None:
    tokenizer = processor.tokenizer
    fused = Qwen2Tokenizer(
        vocab={**tokenizer.get_vocab(), "ĊĊ": len(tokenizer)},
        merges=[("Ċ", "Ċ")],
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens=["<|im_start|>", "<image>"],
    )
    ids, labels = encode_texts(fused, [[user("Hi"), assistant("\nThis.")]])[0]
    assert fused.convert_tokens_to_ids("ĊĊ") in ids
    assert fused.decode(labels[labels != -100]) == "This.<|im_end|>"


def test_text_only_batch(processor: ParrotProcessor, build: Build) -> None:
    batch = processor.encode_conversations([CHATS[2]], [[]], max_length=512)
    assert batch["pixel_values"].shape == (0, 3, 28, 28)


@pytest.mark.parametrize(
    ("chats", "images", "max_length", "message"),
    [
        ([CHATS[2], CHATS[0]], [0, 0], 512, "conversation 1: 1 <image> in its text, but 0 images"),
        ([CHATS[2]], [1], 512, "conversation 0: 0 <image> in its text, but 1 images"),
        ([CHATS[0], CHATS[3]], [1, 3], 60, r"conversation 1: \d+ positions, more than max_length = 60"),
    ],
)
def test_bad_conversations_are_named(
    processor: ParrotProcessor, chats: list[Chat], images: list[int], max_length: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        processor.encode_conversations(chats, [pictures(count) for count in images], max_length)


def test_a_picture_in_an_answer_is_refused(processor: ParrotProcessor) -> None:
    chat = [{"role": "user", "content": "Draw a cat."}, {"role": "assistant", "content": "<image>"}]
    with pytest.raises(ValueError, match="conversation 0: <image> in an answer"):
        processor.encode_conversations([chat], [pictures(1)], max_length=512)


@pytest.mark.parametrize(
    ("texts", "images", "message"),
    [
        (
            ["<image> <image>"],
            lambda: pictures(1),
            r"2 <image> .* \(\[2\] by sample\), but 1 images",
        ),
        (["a", "<image>"], lambda: None, r"1 <image> .* \(\[0, 1\] by sample\), but 0"),
        (
            ["<image>"] * 2,
            lambda: [pictures(1), pictures(2)],
            "sample 1: 1 <image> .*, but 2 images",
        ),
        (["a", " \n"], lambda: None, "sample 1: an empty prompt"),
        (["a", "<image>"], lambda: [b"GIF8"], "sample 1: no image could be read: a broken GIF"),
        (["a", "<image>"], lambda: [3], "sample 1: expected an image, found int"),
        (
            ["<image>", "<image>"],
            lambda: [*pictures(1), "no/such.png"],
            "sample 1: no image could be read",
        ),
    ],
)
def test_a_call_names_the_sample_that_is_wrong(
    processor: ParrotProcessor, texts: list[str], images: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        processor(text=texts, images=images())


def test_truncation_never_cuts_into_an_image(processor: ParrotProcessor) -> None:
    texts = ["a", "<image> what is this, and that, and that?"]
    cut = processor(text=texts, images=pictures(1), truncation=True, max_length=7, padding=True)
    assert max(map(len, cut["input_ids"])) == 7
    with pytest.raises(ValueError, match="sample 1: truncation would keep 4 of its 5 image positions"):
        processor(text=texts, images=pictures(1), truncation=True, max_length=4)


def test_a_call_that_truncates_leaves_nothing_behind(processor: ParrotProcessor) -> None:
    def lengths() -> list[int]:
        return processor.encode_conversations([CHATS[2]], [[]], 512)["attention_mask"].sum(1).tolist()

    before = lengths()
    processor(text=["a b c d e f g"], truncation=True, max_length=3)
    assert lengths() == before


@pytest.mark.parametrize("size", [(40, 20), (20, 40)])
def test_pictures_are_padded_to_a_square_of_the_mean_colour(
    processor: ParrotProcessor, size: tuple[int, int]
) -> None:
    values = processor.encode_images([Image.new("RGB", size, (255, 255, 255))])[0]
    if size[0] < size[1]:
        values = values.transpose(1, 2)
    # The border is the mean, near 0 once normalised; the picture fills the middle half.
    assert values[:, :5].abs().max() < 0.02
    assert values[:, -5:].abs().max() < 0.02
    assert values[:, 9:19].min() > 1.5
    called = processor(
        text=["<image>"], images=[Image.new("RGB", size, (255, 255, 255))], return_tensors="pt"
    )
    assert torch.equal(
        called["pixel_values"][0], processor.encode_images([Image.new("RGB", size, "white")])[0]
    )


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_pictures_of_any_mode(processor: ParrotProcessor, mode: str) -> None:
    assert processor.encode_images([Image.new(mode, (30, 12))]).shape == (1, 3, 28, 28)


def test_save_and_load(processor: ParrotProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, ParrotProcessor)
    assert (loaded.image_seq_length, loaded.pad_to_square) == (5, True)
    assert loaded.chat_template == processor.chat_template
    ours = processor.encode_conversations(CHATS, images_of_chats(), max_length=512)
    theirs = loaded.encode_conversations(CHATS, images_of_chats(), max_length=512)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_model_takes_what_the_processor_gives(processor: ParrotProcessor, build: Build) -> None:
    assert processor.image_token_id == IMAGE_TOKEN
    batch = processor.encode_conversations(CHATS, images_of_chats(), max_length=512)
    output = build()(**batch)
    assert output.loss.isfinite()
    assert output.routing_weights.shape == (6, 3)


def test_a_tokenizer_without_the_image_token_is_refused() -> None:
    plain = Qwen2Tokenizer(vocab={"a": 0, "<|endoftext|>": 1}, merges=[])
    with pytest.raises(ValueError, match="'<image>' is not one of its tokens"):
        ParrotProcessor(None, plain)


def test_siglip_image_processor(tokenizer: Qwen2Tokenizer) -> None:
    image_processor = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    processor = ParrotProcessor(image_processor, tokenizer, image_seq_length=5)
    assert processor.encode_images([]).shape == (0, 3, 28, 28)
    assert processor.encode_images([Image.new("RGB", (50, 20))]).shape == (1, 3, 28, 28)
