"""Broken entries, each between two good ones: named with place, field and reason, and the others are kept."""

import base64
from pathlib import Path
from typing import Any

import pytest
from checked import kinds_at, look_through, write_records
from small_sources import conversation, picture, turns

PLAIN = conversation(1)


def asked(question: Any, answer: Any = "It.") -> dict[str, Any]:
    return {"id": "c1", "image": "1.jpg", "conversations": turns(question, answer)}


def talk(*turns_: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "conversations": list(turns_)} | fields


def said(who: str, text: Any) -> dict[str, Any]:
    return {"from": who, "value": text}


SPEAKER = "conversations[0].from"
VALUE, ANSWER = "conversations[0].value", "conversations[1].value"
BROKEN: dict[str, tuple[Any, str, str]] = {
    "a number": (7, "", "wrong type"),
    "null": (None, "", "wrong type"),
    "a list": ([PLAIN], "", "wrong type"),
    "a text": ('"a record"', "", "wrong type"),
    "an empty object": ({}, "conversations", "wrong type"),
    "an image and no <image>": (asked("What is it?"), "conversations", "placeholders"),
    "two <image> and one image": (asked("<image> <image>\nWhat?"), "conversations", "placeholders"),
    "two images and one <image>": (PLAIN | {"image": ["1.jpg", "2.jpg"]}, "conversations", "placeholders"),
    "<image> and no image": (talk(*turns("<image>\nWhat?", "It.")), "conversations", "placeholders"),
    "<image> in the answer": (asked("What?", "It is <image>."), ANSWER, "placeholders"),
    "an empty answer": (asked("<image>", ""), ANSWER, "empty text"),
    "an answer of spaces": (asked("<image>", " \n\t\u3000"), ANSWER, "empty text"),
    "an answer that is null": (asked("<image>", None), ANSWER, "wrong type"),
    "an answer that is a number": (asked("<image>", 7), ANSWER, "wrong type"),
    "an empty question": (asked(""), VALUE, "empty text"),
    "no answer": (talk(*turns("What?")), "conversations", "turns"),
    "no turns": (talk(), "conversations", "turns"),
    "the answer first": (talk(said("gpt", "It."), said("human", "What?")), "conversations", "turns"),
    "an answer before all": (
        talk(said("gpt", "Hi."), said("human", "What?"), said("gpt", "It.")), "", "mended",
    ),
    "a question behind all": (talk(*turns("What?", "It.", "Sure?")), "", "mended"),
    "two questions in a row": (
        talk(said("human", "Hi."), said("human", "What?"), said("gpt", "It.")), "", "mended",
    ),
    "a system turn in the middle": (
        talk(said("human", "What?"), said("system", "Be brief."), said("gpt", "It.")),
        "conversations[1].value", "turns",
    ),
    "a speaker nobody knows": (talk(said("robot", "What?"), said("gpt", "It.")), SPEAKER, "turns"),
    "a turn that is a text": (talk("What?", "It."), "conversations[0]", "wrong type"),
    "a turn without a speaker": (talk({"value": "What?"}, said("gpt", "It.")), SPEAKER, "turns"),
    "turns that are an object": (PLAIN | {"conversations": {"a": 1}}, "conversations", "wrong type"),
    "a field that would be lost": (PLAIN | {"history": ["a"]}, "history", "unknown field"),
    "a video": (PLAIN | {"video": "1.mp4"}, "video", "medium not read"),
    "two system messages": (PLAIN | {"system": "a", "system_prompt": "b"}, "system_prompt", "said twice"),
    "images twice": (PLAIN | {"images": ["2.jpg"]}, "images", "said twice"),
    "lost characters": (asked("<image>\ncaf\ufffd"), VALUE, "broken text"),
    "half a surrogate pair": (asked("<image>\n\ud83d"), VALUE, "broken text"),
    "a NUL": (asked("<image>\na\0b"), VALUE, "control character"),
    "an escape sequence": (asked("<image>\n\x1b[31mred"), VALUE, "control character"),
    "a backspace": (asked("<image>", "It\b is."), ANSWER, "control character"),
    "another direction": (asked("<image>", "It is \u202etac\u202c."), ANSWER, "control character"),
    "a doubled key": (
        '{"id": "c1", "image": "1.jpg", "image": "2.jpg", "conversations": []}', "image", "doubled key",
    ),
    "a doubled key in a turn": (
        '{"id": "c1", "conversations": [{"from": "human", "value": "a", "value": "b"}, '
        '{"from": "gpt", "value": "c"}]}',
        "conversations[0].value", "doubled key",
    ),
    "an image that is not there": (PLAIN | {"image": "9.jpg"}, "image", "missing image"),
    "a path out": (PLAIN | {"image": "../1.jpg"}, "image", "unsafe path"),
    "a path from the root": (PLAIN | {"image": "/etc/passwd"}, "image", "unsafe path"),
    "a path of another system": (PLAIN | {"image": "..\\1.jpg"}, "image", "unsafe path"),
    "a path with a NUL": (PLAIN | {"image": "1.jpg\0.png"}, "image", "control character"),
    "a picture on the web": (PLAIN | {"image": "https://example.com/1.jpg"}, "image", "missing image"),
    "an image that is a number": (PLAIN | {"image": 7}, "image", "wrong type"),
    "a broken data URI": (PLAIN | {"image": "data:image/jpeg;base64,AAA*"}, "image", "unreadable image"),
    "a data URI of no picture": (PLAIN | {"image": "data:;base64,AAAA"}, "image", "unreadable image"),
    "broken base64": (PLAIN | {"image": "AAAA*" * 90}, "image", "unreadable image"),
    "a name in other cases": (PLAIN | {"image": "1.JPG"}, "image", "missing image"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_named_and_those_around_it_are_kept(name: str, tmp_path: Path) -> None:
    odd, field, reason = BROKEN[name]
    read, broken = look_through(write_records(tmp_path, odd), tmp_path / "images.zip")
    assert (read, kinds_at(broken)) == (3, [(1, field, reason)])


TAKEN: dict[str, Any] = {
    "a duplicate id": PLAIN | {"id": "c0"},
    "no id": {key: value for key, value in PLAIN.items() if key != "id"},
    "an id with control characters": PLAIN | {"id": "a\x1b[2Jb"},
    "an id that is a list": PLAIN | {"id": [1]},
    "marks of direction": asked("<image>\nماذا\u200f؟ \u2067א\u2069"),
    "lines parted in other ways": asked("<image>\none\r\ntwo\u2028three\x0bfour\x0cfive\x85"),
    "a joined emoji": asked("<image>\n\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}"),
    "a whole surrogate pair": '{"id": "c1", "conversations": [{"from": "human", "value": "\\ud83d\\ude00"}, '
    '{"from": "gpt", "value": "It."}]}',
    "tags of a chat": asked("<image>\n<|im_end|>\n<|im_start|>assistant"),
}

TAKEN["a picture in base64"] = PLAIN | {"image": base64.b64encode(picture(7)).decode()}
TAKEN["a picture in a data URI"] = PLAIN | {"image": "data:;base64," + base64.b64encode(picture(7)).decode()}


@pytest.mark.parametrize("name", TAKEN)
def test_what_looks_odd_and_is_not_broken_is_taken(name: str, tmp_path: Path) -> None:
    assert look_through(write_records(tmp_path, TAKEN[name]), tmp_path / "images.zip") == (3, [])
