import json
from pathlib import Path
from typing import Any

import pytest
from small_sources import conversation, instruction, turns, write_json_list

from parrot.data.images import ImageStore, decode_within
from parrot.data.records import Message, Record
from parrot.data.rejects import Rejected, kind
from parrot.data.sources.described import to_record
from parrot.data.sources.formats import known_formats
from parrot.data.sources.json_items import read_items

REAL = Path(__file__).parents[2] / "../shared/reference/real-data"
needs_real_data = pytest.mark.skipif(
    not REAL.is_dir(), reason="the real data samples are not beside this checkout"
)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    return ImageStore(tmp_path)


def read_llava(entry: Any, store: ImageStore | None = None) -> Record:
    return to_record(entry, 3, "en", "talk", store, known_formats()["llava"])


def read_alpaca(entry: Any, number: int) -> Record:
    return to_record(entry, number, "en", "text", None, known_formats()["alpaca"])


@pytest.mark.parametrize(
    "value", ["<image>\nWhat is it?", "What is it?\n<image>", "What is <image>it?", "<image>What is it?  "]
)
def test_the_placeholder_moves_to_the_front(store: ImageStore, value: str) -> None:
    record = read_llava(conversation(1, value), store)
    assert record.messages == (Message("user", "<image>\nWhat is it?"), Message("assistant", "Number 1."))
    assert (record.id, record.source, record.language) == ("c1", "talk", "en")
    assert [(image.path, image.bytes) for image in record.images] == [("1.jpg", b"1.jpg")]


def test_several_images_and_several_turns(store: ImageStore) -> None:
    talk = turns("Compare <image> and <image>.", "Equal.", "Sure?", " Yes. ")
    record = read_llava({"image": ["2.jpg", "1.jpg"], "conversations": talk}, store)
    assert record.messages[0].content == "Compare <image> and <image>."
    assert [message.role for message in record.messages] == ["user", "assistant"] * 2
    assert record.messages[3].content == " Yes. "
    assert [image.path for image in record.images] == ["2.jpg", "1.jpg"]
    assert record.id == "3"  # its place, for want of an id


def test_a_placeholder_alone_is_a_question(store: ImageStore) -> None:
    for value in ("<image>", "<image>\n", "\n<image> "):
        assert read_llava(conversation(1, value), store).messages[0] == Message("user", "<image>")


def test_text_only(store: ImageStore) -> None:
    entry = {"conversations": turns("Hi", "Ho")}
    assert read_llava(entry).images == read_llava(entry, store).images == ()


@pytest.mark.parametrize(
    "nothing",
    ["", " ", "None", "none", "null", "NaN", "nan", "N/A", None, float("nan"), [], [""], [None], {}],
)
def test_the_ways_to_say_that_there_is_no_image(nothing: Any, store: ImageStore) -> None:
    talk = {"conversations": turns("Hi", "Ho")}
    for name in ("image", "images", "video", "system", "tools"):
        record = read_llava(talk | {name: nothing}, store)
        assert (record.images, len(record.messages)) == ((), 2)
    with pytest.raises(Rejected, match="placeholders: 1 <image> for 0 images"):
        read_llava({"image": nothing, "conversations": turns("<image>a", "b")}, store)
    both = {"image": ["1.jpg", nothing], "conversations": turns("<image>a", "b")}
    if not isinstance(nothing, list | dict):
        assert [image.path for image in read_llava(both, store).images] == ["1.jpg"]


SYSTEM = "Answer in one word."


@pytest.mark.parametrize(
    "entry",
    [
        {"system": SYSTEM, "conversations": turns("Sky?", "Blue.")},
        {"system_prompt": SYSTEM, "conversations": turns("Sky?", "Blue.")},
        {"system": SYSTEM, "system_prompt": SYSTEM, "conversations": turns("Sky?", "Blue.")},
        {"conversations": [{"from": "system", "value": SYSTEM}, *turns("Sky?", "Blue.")]},
        {"system": SYSTEM, "conversations": [{"from": "system", "value": SYSTEM}, *turns("Sky?", "Blue.")]},
        {"system": SYSTEM, "conversations": [{"from": "system", "value": ""}, *turns("Sky?", "Blue.")]},
        {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": "Sky?"},
                {"role": "assistant", "content": "Blue."},
            ]
        },
    ],
)
def test_a_system_prompt_leads(entry: dict[str, Any]) -> None:
    assert read_llava(entry).messages == (
        Message("system", SYSTEM),
        Message("user", "Sky?"),
        Message("assistant", "Blue."),
    )


def test_an_answer_may_be_the_word_none() -> None:
    assert read_llava({"conversations": turns("Which?", "None")}).messages[1].content == "None"
    talk = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "none"}]
    assert read_llava({"messages": talk}).messages[1].content == "none"


@pytest.mark.parametrize(
    "about",
    [
        {"model": "gpt-4", "width": 640, "height": 480, "data_source": "coco", "question_type": "open"},
        {
            "image_id": "7",
            "num_tokens": 12,
            "metadata": {"page": 3},
            "url": "https://example.org",
            "tags": [1],
        },
        {"caption": "", "video": None, "audio": [], "tools": "[]", "answer": None},
    ],
)
def test_what_is_about_a_record_is_left_out(about: dict[str, Any], store: ImageStore) -> None:
    assert read_llava(conversation(1) | about, store) == read_llava(conversation(1), store)
    assert read_alpaca(instruction(1) | about, 1).messages[0].content == "Say 1."


IMAGE = {"image": "1.jpg"}


@pytest.mark.parametrize(
    ("entry", "field", "reason"),
    [
        ([], "", "wrong type"),
        ({}, "conversations", "wrong type"),
        ({"conversations": []}, "conversations", "turns"),
        ({"conversations": turns("a", "b")[::-1]}, "conversations", "turns"),
        (
            {"conversations": [*turns("a", "b"), {"from": "tool", "value": "c"}]},
            "conversations[2].from",
            "turns",
        ),
        ({"conversations": ["a", "b"]}, "conversations[0]", "wrong type"),
        ({"conversations": turns("a", " \n")}, "conversations[1].value", "empty text"),
        ({"conversations": turns("a", "b", "", "d")}, "conversations[2].value", "empty text"),
        ({"conversations": turns("a", None)}, "conversations[1].value", "wrong type"),  # type: ignore[arg-type]
        ({"conversations": turns("a", "caf\ufffd")}, "conversations[1].value", "broken text"),
        ({"conversations": turns("a", "\ud83d")}, "conversations[1].value", "broken text"),
        ({"conversations": turns("a", "<image>b")} | IMAGE, "conversations[1].value", "placeholders"),
        ({"conversations": turns("a", "b")} | IMAGE, "conversations", "placeholders"),
        ({"conversations": turns("<image>a", "b")}, "conversations", "placeholders"),
        ({"conversations": turns("<image>a", "b", "<image>a", "b")} | IMAGE, "conversations", "placeholders"),
        ({"conversations": turns("<image>a", "b"), "image": 7}, "image", "wrong type"),
        ({"conversations": turns("<image>a", "b"), "image": "3.jpg"}, "image", "missing image"),
        ({"conversations": turns("<image>a", "b"), "image": "../x.jpg"}, "image", "unsafe path"),
        ({"conversations": turns("<image>a", "b"), "images": [["1.jpg"]]}, "images", "wrong type"),
        ({"conversations": turns("<video>\na", "b"), "video": "a.mp4"}, "video", "medium not read"),
        ({"conversations": turns("a", "b"), "videos": ["a.mp4"]}, "videos", "medium not read"),
        ({"conversations": turns("<audio>a", "b"), "audio_path": "a.wav"}, "audio_path", "medium not read"),
        (
            {"conversations": [turns("a")[0] | {"audios": ["a"]}, *turns("a", "b")[1:]]},
            "conversations[0].audios",
            "medium not read",
        ),
        ({"conversations": turns("a", "b"), "image_path": "1.jpg"}, "image_path", "unknown field"),
        ({"conversations": turns("a", "b"), "tools": "[{}]"}, "tools", "unknown field"),
        ({"conversations": turns("a", "b"), "\ud800": 1}, "'\\ud800'", "unknown field"),
        (
            {"conversations": [turns("a")[0], turns("", "b")[1] | {"loss": False}]},
            "conversations[1].loss",
            "unknown field",
        ),
        (
            {"conversations": turns("a", "b"), "system": "x", "system_prompt": "y"},
            "system_prompt",
            "said twice",
        ),
        (
            {"conversations": [{"from": "system", "value": "x"}, *turns("a", "b")], "system": "y"},
            "conversations[0].value",
            "said twice",
        ),
        ({"conversations": [{"from": "system", "value": "x"}]}, "conversations", "turns"),
        (
            {"conversations": [*turns("a", "b"), {"from": "system", "value": "x"}, *turns("a")]},
            "conversations[2].value",
            "turns",
        ),
        ({"conversations": turns("a", "b"), "system": "<image>"}, "system", "placeholders"),
        ({"conversations": turns("a", "b"), "system": ["x"]}, "system", "wrong type"),
        ({"conversations": turns("a", "b"), "messages": turns("a", "c")}, "messages", "said twice"),
    ],
)
def test_llava_rejects(store: ImageStore, entry: Any, field: str, reason: str) -> None:
    with pytest.raises(Rejected) as error:
        read_llava(entry, store)
    assert (error.value.field, kind(error.value.reason)) == (field, reason)


def test_images_without_a_place_for_them() -> None:
    with pytest.raises(Rejected, match=r"missing image: params.yaml names no `images`"):
        read_llava(conversation(1), None)


def test_alpaca() -> None:
    led = read_alpaca(instruction(4) | {"system": SYSTEM, "input": "None"}, 9)
    assert [(message.role, message.content) for message in led.messages] == [
        ("system", SYSTEM), ("user", "Say 4."), ("assistant", "4"),
    ]  # fmt: skip
    record = read_alpaca(instruction(4) | {"input": "in words"}, 9)
    assert record == Record(
        "9", "text", "en", (Message("user", "Say 4.\nin words"), Message("assistant", "4"))
    )
    bare = read_alpaca({"instruction": "Say 4.", "output": "4"}, 9)
    assert bare.messages[0].content == "Say 4."


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"instruction": ""}, "instruction", "empty text"),
        ({"instruction": None}, "instruction", "wrong type"),
        ({"input": 3}, "input", "wrong type"),
        ({"output": " "}, "output", "empty text"),
        ({"output": ["a"]}, "output", "wrong type"),
        ({"input": "see <image>"}, "instruction", "placeholders"),
        ({"output": "<image>"}, "output", "placeholders"),
        ({"image": "1.jpg"}, "image", "unknown field"),
        ({"history": [["a", "b"]]}, "history", "unknown field"),
        ({"audio": "1.wav"}, "audio", "medium not read"),
    ],
)
def test_alpaca_rejects(change: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(Rejected) as error:
        read_alpaca(instruction(1) | change, 0)
    assert (error.value.field, kind(error.value.reason)) == (field, reason)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("a7", "a7"), (12, "12"), ("\ud800", "5"), ("caf\ufffd", "5"), ("", "5"), ([1], "5")],
)
def test_ids_that_cannot_be_written_are_replaced(given: Any, expected: str) -> None:
    assert read_alpaca(instruction(1) | {"id": given}, 5).id == expected


@needs_real_data
def test_real_alpaca_samples() -> None:
    path = next((REAL / "instruction_samples").glob("alpaca_gpt4_*.json"))
    entries = list(read_items(path))
    assert entries == json.loads(path.read_text(encoding="utf-8"))
    records = [read_alpaca(entry, number) for number, entry in enumerate(entries)]
    assert len(records) == 150
    assert all(
        record.messages[1].content == entry["output"] for record, entry in zip(records, entries, strict=True)
    )


@needs_real_data
def test_real_pictures_in_a_folder(tmp_path: Path) -> None:
    folder = REAL / "tuxpaint_stamps_six" / "images"
    names = sorted(file.name for file in folder.iterdir())[:20]
    items = [{"image": name, "conversations": turns("<image>\nWhat?", name)} for name in names]
    store = ImageStore(folder)
    for number, entry in enumerate(read_items(write_json_list(tmp_path / "talk.json", items))):
        record = to_record(entry, number, "en", "stamps", store, known_formats()["llava"])
        assert min(decode_within(record.images[0].bytes, 64).size) > 0
        assert record.images[0].bytes == (folder / names[number]).read_bytes()
