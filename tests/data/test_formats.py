"""Conversations as people have them, descriptions of one's own, and what is said of those that do not fit."""

import base64
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from read_source import only_reason, read, records, texts
from small_sources import instruction, picture, small_world, turns, write_json_list

from parrot.config import Format
from parrot.data.records import Message, Record
from parrot.data.rejects import Reject, kind
from parrot.data.sources.formats import format_of, known_formats
from parrot.data.sources.odd import READERS, REWRITES
from parrot.data.sources.turns import FIRST_ANSWER, JOINED, LAST_QUESTION
from parrot.errors import ParrotError


@pytest.mark.parametrize(
    ("given", "texts_left", "rules"),
    [
        (turns("a", "b", "c"), ["a", "b"], (LAST_QUESTION,)),
        (turns("", "b", "c", "d")[1:], ["c", "d"], (FIRST_ANSWER,)),
        (turns("", "b", "c", "d", "e")[1:], ["c", "d"], (FIRST_ANSWER, LAST_QUESTION)),
        ([*turns("a", "b")[:1], *turns("c", "d")], ["a\nc", "d"], (JOINED,)),
        ([*turns("a", "b"), *turns("", "c")[1:]], ["a", "b\nc"], (JOINED,)),
        ([*turns("a", "b"), *turns("c")[:1], *turns("d")[:1]], ["a", "b"], (LAST_QUESTION,)),
    ],
)
def test_conversations_are_mended_by_named_rules(
    tmp_path: Path, given: list[Any], texts_left: list[str], rules: tuple[str, ...]
) -> None:
    path = write_json_list(tmp_path / "talk.json", [{"conversations": given}])
    [record] = records({"format": "llava", "path": str(path)})
    assert (texts(record), record.mended) == (texts_left, rules)


def test_what_is_mended_is_counted_and_listed(tmp_path: Path) -> None:
    items = [{"id": f"m{place}", "conversations": turns(*"abcde"[: 2 + place])} for place in range(3)]
    items.append({"id": "both", "conversations": turns("", "b", "c", "d", "e")[1:]})
    world = small_world(tmp_path).only(items, {"1.jpg": picture(1)})
    metrics = world.prepare_source("only")
    assert metrics["mended"] == {"total": 2, FIRST_ANSWER: 1, LAST_QUESTION: 2}
    assert metrics["read"] == metrics["kept"] + metrics["mended"]["total"] == 4
    listed = pq.read_table(world.prepared("align") / "only" / "mended.parquet").to_pylist()
    assert [row["record"] for row in listed] == ["m1", "both"]


def test_an_image_that_goes_with_its_question_is_no_silent_loss(tmp_path: Path) -> None:
    items = [{"image": "1.jpg", "conversations": turns("a", "b", "<image>c")}]
    [reject] = read({"format": "llava", "path": str(write_json_list(tmp_path / "talk.json", items))})
    assert isinstance(reject, Reject)
    assert reject.reason == "placeholders: 0 <image> for 1 images"


def test_content_lists_of_openai(tmp_path: Path) -> None:
    (tmp_path / "2.jpg").write_bytes(picture(2))
    uri = "data:image/jpeg;base64," + base64.b64encode(picture(1)).decode()

    def user(*parts: Any) -> dict[str, Any]:
        return {"role": "user", "content": list(parts)}

    answer = {"role": "assistant", "content": [{"type": "text", "text": "Two."}]}
    text = {"type": "text", "text": "How many?"}
    items: list[Any] = [
        {"messages": [user({"type": "image_url", "image_url": {"url": uri}}, text), answer]},
        {"messages": [user({"type": "image", "image": "2.jpg"}, text), answer]},
        {"messages": [user(text, {"type": "image"}), answer], "images": ["2.jpg"]},
        {"messages": [user({"type": "input_audio", "input_audio": {}}, text), answer]},
        {"messages": [user({"type": "image_url", "image_url": "https://example.org/a.jpg"}), answer]},
        {"messages": [user({"type": "image_url", "image_url": {"url": "data:image/png,x"}}), answer]},
    ]
    path = write_json_list(tmp_path / "talk.json", items)
    found = read({"format": "chat", "path": str(path), "images": str(tmp_path)})
    for record in found[:3]:
        assert isinstance(record, Record)
        assert texts(record) == ["<image>\nHow many?", "Two."]
    assert isinstance(found[0], Record)
    assert found[0].images[0].bytes == picture(1)
    reasons = [reject.reason for reject in found[3:] if isinstance(reject, Reject)]
    assert [kind(reason) for reason in reasons] == ["medium not read", "missing image", "unreadable image"]


@pytest.mark.parametrize(
    ("part", "field", "reason"),
    [
        ('{"type": "text", "text": "first", "text": "second"}', "text", "doubled key"),
        ('{"type": "text", "text": "q", "video": "x.mp4"}', "video", "medium not read"),
        ('{"type": "text", "text": "q", "think": "lost"}', "think", "unknown field"),
        ('{"type": "image", "image": "1.jpg", "caption": "lost"}', "caption", "unknown field"),
        ('{"type": "image_url", "image_url": {"url": "1", "url": "2"}}', "image_url.url", "doubled key"),
    ],
)
def test_what_a_part_of_a_content_list_says_besides_is_no_silent_loss(
    tmp_path: Path, part: str, field: str, reason: str
) -> None:
    path = tmp_path / "talk.jsonl"
    answer = '{"role": "assistant", "content": "a"}'
    path.write_text(f'{{"messages": [{{"role": "user", "content": [{part}]}}, {answer}]}}')
    [reject] = read({"format": "chat", "path": str(path)})
    assert isinstance(reject, Reject)
    assert (reject.field, kind(reject.reason)) == (f"messages[0].content[0].{field}", reason)


def test_pictures_named_by_the_entry_and_by_its_parts_are_not_swapped(tmp_path: Path) -> None:
    parts = [{"type": "image", "image": "b.jpg"}, {"type": "image"}, {"type": "text", "text": "b, then a."}]
    talk = [{"role": "user", "content": parts}, {"role": "assistant", "content": "Yes."}]
    path = write_json_list(tmp_path / "talk.json", [{"images": ["a.jpg"], "messages": talk}])
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(picture(1))
    reason = only_reason(read({"format": "chat", "path": str(path), "images": str(tmp_path)}))
    assert reason.startswith("said twice: the entry names images, and so do parts of its turns")


def test_what_a_part_says_of_how_its_picture_is_read_is_no_loss(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(picture(1))
    part = {"type": "image_url", "image_url": {"url": "1.jpg", "detail": "low"}, "text": None}
    talk = [{"role": "user", "content": [part]}, {"role": "assistant", "content": "a"}]
    path = write_json_list(tmp_path / "talk.json", [{"messages": talk}])
    [record] = records({"format": "chat", "path": str(path), "images": str(tmp_path)})
    assert record.images[0].path == "1.jpg"


def test_speakers_by_their_usual_names(tmp_path: Path) -> None:
    names = [("developer", "user", "assistant"), ("system", "human", "bing"), ("system", "user", "model")]
    items = [
        {"messages": [{"role": name, "content": "a"} for name in some], "id": place}
        for place, some in enumerate(names)
    ]
    for record in records({"format": "chat", "path": str(write_json_list(tmp_path / "a.json", items))}):
        assert [message.role for message in record.messages] == ["system", "user", "assistant"]


def test_a_description_of_one_s_own_in_four_lines(tmp_path: Path) -> None:
    (tmp_path / "a1.jpg").write_bytes(picture(1))
    chat = [{"who": "customer", "says": "<image>What is it?"}, {"who": "agent", "says": "A number."}]
    path = write_json_list(tmp_path / "chats.json", [{"key": "a1", "chat": chat}])
    own = {
        "columns": {"id": "key", "messages": "chat", "role": "who", "content": "says"},
        "roles": {"customer": "user", "agent": "assistant"},
        "image": "{key}.jpg",
    }
    [record] = records({"format": own, "path": str(path), "images": str(tmp_path)})
    assert record.messages == (Message("user", "<image>\nWhat is it?"), Message("assistant", "A number."))
    assert (record.id, record.images[0].path) == ("a1", "a1.jpg")


@pytest.mark.parametrize(
    ("template", "reason"),
    [("{nowhere}.jpg", "missing image"), ("{id:d}.jpg", "wrong type"), ("../{id}.jpg", "unsafe path")],
)
def test_a_picture_s_name_that_cannot_be_made(tmp_path: Path, template: str, reason: str) -> None:
    path = write_json_list(tmp_path / "a.json", [{"id": "x", "q": "What?", "a": "It."}])
    own = {"columns": {"prompt": "q", "response": "a"}, "image": template}
    assert kind(only_reason(read({"format": own, "path": str(path), "images": str(tmp_path)}))) == reason


def test_questions_and_answers_of_different_numbers(tmp_path: Path) -> None:
    path = write_json_list(tmp_path / "a.json", [{"q": ["a", "b"], "a": ["c"]}])
    own = {"columns": {"prompt": "q", "response": "a"}}
    assert only_reason(read({"format": own, "path": str(path)})) == "turns: 2 questions and 1 answers"


def test_an_unknown_format_and_an_unknown_module() -> None:
    with pytest.raises(ParrotError, match=r"sources.mine.format: 'lava' is not known; did you mean 'llava'"):
        format_of("mine", "lava")
    own = Format.model_validate({"columns": {"messages": "a"}, "rewrite": "magic"})
    with pytest.raises(ParrotError, match=r"sources.mine.format.rewrite: no 'magic'; known are aokvqa"):
        format_of("mine", own)


def test_every_module_is_used_and_short() -> None:
    forms = known_formats().values()
    assert {form.reader for form in forms if form.reader} == set(READERS)
    assert {form.rewrite for form in forms if form.rewrite} == set(REWRITES)
    for module in ("aokvqa", "baize", "coco"):
        file = Path(__file__).parents[2] / f"parrot/data/sources/{module}.py"
        assert len(file.read_text(encoding="utf-8").splitlines()) < 60


def test_an_entry_count_that_is_not_expected(tmp_path: Path) -> None:
    items = [instruction(number) for number in range(20)]
    world = small_world(tmp_path)
    assert world.only(items, expected=20).prepare_source("only")["read"] == 20
    with pytest.raises(ParrotError, match="only: 20 entries, 30 are expected: a file is not whole"):
        world.only(items, expected=30).prepare_source("only")


def test_a_name_made_of_a_list_that_is_empty_and_one_that_is_no_text(tmp_path: Path) -> None:
    path = write_json_list(tmp_path / "a.json", [{"images": [], "conversations": turns("<image>a", "b")}])
    form = {"columns": {"messages": "conversations"}, "image": "train/{images[0]}"}
    reason = only_reason(read({"format": form, "path": str(path)}))
    assert reason.startswith("wrong type: no picture's name is made of it: list index out of range")
    row = {"image": {"bytes": picture(1), "path": 7}, "conversations": turns("<image>a", "b")}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    reason = only_reason(read({"format": "llava", "path": str(tmp_path / "a.parquet")}))
    assert reason == "wrong type: expected text, found int"
