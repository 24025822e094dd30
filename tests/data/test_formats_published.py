"""All seventeen data sets on records in exactly their published form, and real samples of some."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from published_sets import PUBLISHED, publish
from read_source import LIMITS, only_reason, read, records, texts
from small_sources import picture, write_json_list

from parrot.config import Source
from parrot.data.records import Record
from parrot.data.rejects import Reject, kind
from parrot.data.sources.containers import read_entries
from parrot.data.sources.formats import known_formats
from parrot.data.sources.reading import SourceReader
from parrot.data.sources.turns import LAST_QUESTION

REAL = Path(__file__).parents[2] / "../shared/reference/real-data/instruction_samples"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return publish(tmp_path_factory.mktemp("published"))


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_data_set_of_the_papers_is_read_whole(published: dict[str, dict[str, Any]], name: str) -> None:
    found = records(published[name])
    assert len(found) == published[name]["expected"]
    for record in found:
        assert [message.role for message in record.messages if message.role != "system"] == (
            ["user", "assistant"] * (len(record.messages) // 2)
        )
        assert all(message.content.strip() for message in record.messages)
        assert not record.mended
    pictures = sum(len(record.images) for record in found)
    assert bool(pictures) == (name not in ("dolly", "alpaca_gpt4", "baize"))


def test_a_okvqa(published: dict[str, dict[str, Any]]) -> None:
    first, second = records(published["aokvqa"])[:2]
    assert first.id == "22MexNkBPpdZGX6sxbxVBH"
    assert [image.path for image in first.images] == ["train2017/000000299207.jpg"]
    question, answer = texts(first)
    assert question.startswith("<image>\nWhat is the man by the bags awaiting? ")
    # MultiModal-GPT's reader makes a prompt with the options, then overwrites it with one without them.
    assert question.endswith("\nOptions: skateboarder, train, delivery, cab.")
    assert "Options" not in texts(second)[0]
    assert (
        answer == "The answer is cab. Because A train would not be on the street. He has luggage. Cabs wait."
    )


def test_a_okvqa_s_test_split_is_refused_by_name(tmp_path: Path) -> None:
    entry = {"split": "test", "image_id": 1, "question_id": "x", "question": "Why?", "choices": ["a", "b"],
             "difficult_direct_answer": False}  # fmt: skip
    [reject] = read({"format": "aokvqa", "path": str(write_json_list(tmp_path / "t.json", [entry]))})
    assert isinstance(reject, Reject)
    assert (reject.record, kind(reject.reason)) == ("x", "missing answer")


def pairs_of_upstream(conversations: list[dict[str, str]]) -> list[tuple[str, str]]:
    """As MultiModal-GPT's DialDataset indexes them: its second pair takes an answer for a question."""
    values = [turn["value"] for turn in conversations]
    return [(values[place], values[place + 1]) for place in range(len(values) // 2)]


def test_a_dialogue_keeps_its_pairs(published: dict[str, dict[str, Any]]) -> None:
    source = published["llava_dialogue"]
    entry = json.loads(Path(source["path"]).read_text(encoding="utf-8"))[0]
    upstream = pairs_of_upstream(entry["conversations"])
    assert upstream[1] == ("The bus is white and red.", "What feature can be seen on its back?")
    found = texts(records(source)[0])
    ours = list(zip(found[::2], found[1::2], strict=True))
    assert ours[1] == ("What feature can be seen on its back?", "An advertisement,\nin colour.")
    assert len(ours) == len(upstream) == 3


def test_baize_keeps_lines_and_drops_the_empty_end(published: dict[str, dict[str, Any]]) -> None:
    [record] = records(published["baize"])
    assert texts(record) == ["What is tea?", "A drink.\nOf leaves.", "Of which plant?", "Camellia sinensis."]


def test_baize_s_own_preface_is_a_system_message(tmp_path: Path) -> None:
    entry = {"topic": "x", "input": "Be brief.\n[|Human|] Hi\n[|AI|] Ho\n[|Human|] And then?"}
    [record] = records({"format": "baize", "path": str(write_json_list(tmp_path / "b.json", [entry]))})
    assert (texts(record), record.mended) == (["Be brief.", "Hi", "Ho"], (LAST_QUESTION,))
    assert kind(
        only_reason(read({"format": "baize", "path": str(write_json_list(tmp_path / "b.json", [{}]))}))
    ) == ("wrong type")


def test_ocr_vqa_in_both_forms(published: dict[str, dict[str, Any]]) -> None:
    for name in ("ocrvqa", "ocrvqa_downloaded"):
        record = records(published[name])[0]
        assert texts(record) == [
            "<image>\nWho wrote this book?", "Wendy Sloan.", "Is this book about cooking?", "No."
        ]  # fmt: skip
        assert [image.path for image in record.images] == ["0760318345.jpg"]
    source = published["ocrvqa"]
    reader = SourceReader("it", Source(**source), LIMITS)
    assert (len(list(reader.entries(["en"]))), reader.left_out) == (
        1,
        2,
    )  # splits 2 and 3 are no training data


def test_coco_captions_in_all_their_forms(published: dict[str, dict[str, Any]]) -> None:
    [one] = records(published["coco_karpathy_train"])
    assert texts(one)[1] == "A woman wearing a net on her head cutting a cake. "
    assert one.id == "coco_522418"
    several = records(published["coco_karpathy_val"])
    assert [texts(record)[1] for record in several] == ["A cat.", "A small cat."]
    assert len({image.path for record in several for image in record.images}) == 1
    own = records(published["coco_captions"])
    assert [(record.id, record.images[0].path) for record in own] == [
        ("7", "COCO_val2014_000000522418.jpg"), ("8", "COCO_val2014_000000522418.jpg"),
    ]  # fmt: skip


def test_coco_lists_in_either_order_and_a_caption_without_a_picture(tmp_path: Path) -> None:
    tree = {
        "annotations": [{"image_id": 1, "id": 5, "caption": "A."}, {"image_id": 9, "id": 6, "caption": "B."}],
        "info": {"year": 2017},
        "images": [{"id": 1, "file_name": "1.jpg"}, {"id": "broken"}, 3],
    }
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(tree))
    (tmp_path / "1.jpg").write_bytes(picture(1))
    found = read({"format": "coco_captions", "path": str(path), "images": str(tmp_path)})
    assert isinstance(found[0], Record)
    assert texts(found[0])[1] == "A."
    assert isinstance(found[1], Reject)
    assert (found[1].record, kind(found[1].reason)) == ("6", "missing image")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data samples are not beside this checkout")
def test_real_samples(tmp_path: Path) -> None:
    file = REAL / "llava_coco2014_val_gpt4_qa_30x3.jsonl"
    names = set(re.findall(r"COCO_val2014_\d+\.jpg", file.read_text(encoding="utf-8")))
    for number, name in enumerate(sorted(names)):
        (tmp_path / name).write_bytes(picture(number))
    own = {"columns": {"prompt": "instruction", "response": "output"}}
    found = records({"format": own, "path": str(file), "images": str(tmp_path)})
    assert (len(found), len(names)) == (90, 30)
    assert all(len(record.images) == 1 for record in found)
    [alpaca] = REAL.glob("alpaca_gpt4_*.json")
    assert len(records({"format": "alpaca", "path": str(alpaca)})) == 150
    assert [position for position, _ in read_entries(alpaca, known_formats()["alpaca"])] == list(range(150))


STAMPS = REAL.parent / "tuxpaint_stamps_six"


@pytest.mark.skipif(not STAMPS.is_dir(), reason="the real photographs are not beside this checkout")
def test_real_captions_of_six_languages_in_one_file() -> None:
    file = STAMPS / "captions.jsonl"
    total = len(file.read_text(encoding="utf-8").splitlines())
    read = 0
    for language, question in {"en": "What is it?", "zh": "这是什么？", "ar": "ما هذا؟"}.items():
        own = {"columns": {"response": "text"}, "ask": question, "only": {"language": [language]}}
        source = {"split": "align", "format": own, "path": str(file), "images": str(STAMPS)}
        reader = SourceReader("stamps", Source.model_validate(source | {"language": language}), LIMITS)
        entries = list(reader.entries(["en", "zh"]))
        assert len(entries) + reader.left_out == total
        found = [reader.record(*entry) for entry in entries[:20]]
        assert all(isinstance(one, Record) and one.language == language for one in found), found
        assert isinstance(found[0], Record)
        assert found[0].messages[0].content == f"<image>\n{question}"
        read += len(entries)
    assert 700 < read < total
