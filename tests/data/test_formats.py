"""All seventeen data sets, and what else people have, on records in exactly their published form."""

import base64
import gc
import io
import json
import re
import tarfile
import tracemalloc
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from published_sets import PUBLISHED, publish
from small_sources import instruction, picture, small_world, turns, write_json_list

from parrot.config import Format, Images, Source
from parrot.data.records import Message, Record
from parrot.data.rejects import Reject, kind
from parrot.data.sources import json_items
from parrot.data.sources.containers import read_entries
from parrot.data.sources.formats import format_of, known_formats
from parrot.data.sources.json_items import read_members
from parrot.data.sources.odd import READERS, REWRITES
from parrot.data.sources.reading import SourceReader
from parrot.data.sources.turns import FIRST_ANSWER, JOINED, LAST_QUESTION
from parrot.errors import ParrotError

LIMITS = Images(max_megapixels=1.0, min_pixels=8, max_pixels=2000)
REAL = Path(__file__).parents[2] / "../shared/reference/real-data/instruction_samples"


def read(source: dict[str, Any], languages: tuple[str, ...] = ("en",)) -> list[Record | Reject]:
    settings = {"split": "sft", "language": "en", "images": source["path"]} | source
    reader = SourceReader("it", Source(**settings), LIMITS)
    return [reader.record(*entry) for entry in reader.entries(languages)]


def records(source: dict[str, Any]) -> list[Record]:
    found = read(source)
    assert all(isinstance(one, Record) for one in found), found
    return [one for one in found if isinstance(one, Record)]


def texts(record: Record) -> list[str]:
    return [message.content for message in record.messages]


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
        _only(read({"format": "baize", "path": str(write_json_list(tmp_path / "b.json", [{}]))}))
    ) == ("wrong type")


def _only(found: list[Record | Reject]) -> str:
    [reject] = found
    assert isinstance(reject, Reject)
    return reject.reason


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


def test_members_are_read_as_json_loads_does(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for tree in ({}, {"a": []}, {"a": 1, "b": [1, [2], {"c": 3}], "d": {"e": [4]}}):
        file.write_text(json.dumps(tree, indent=1))
        expected = [
            (key, item)
            for key, value in tree.items()
            for item in (value if isinstance(value, list) else [value])
        ]
        assert list(read_members(file)) == expected
    for text, problem in (
        ("[1]", "expected an object"),
        ('{"a" 1}', "expected ':'"),
        ('{"a": [1}', "expected ','"),
        ('{"a": 1} 2', "text after the object"),
        ("{1: 2}", "expected a key"),
        ("{", "broken"),
    ):
        file.write_text(text)
        with pytest.raises(ParrotError, match=problem):
            list(read_members(file))


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


def test_pictures_in_parquet_and_shards_of_it(tmp_path: Path) -> None:
    for number in range(3):
        talk = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": f"{number}"}]
        rows = [{"messages": talk, "images": [{"bytes": picture(number), "path": "image.jpg"}]}]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"train-{number:05d}.parquet")
    source = {"format": "chat", "path": str(tmp_path), "files": "train-*.parquet"}
    found = records(source)
    assert [record.messages[1].content for record in found] == ["0", "1", "2"]
    assert [record.images[0].bytes for record in found] == [picture(number) for number in range(3)]
    (tmp_path / "train-00001.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ParrotError, match=r"train-00001\.parquet: not readable as Parquet"):
        read(source)
    with pytest.raises(ParrotError, match=r"x-\*.parquet: not found"):
        read(source | {"files": "x-*.parquet"})


def test_a_broken_picture_is_found_though_another_has_its_name(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "It."}]
    pictures = [picture(1), picture(2)[:100]]
    rows = [{"messages": talk, "images": [{"bytes": one, "path": "image.jpg"}]} for one in pictures]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = read({"format": "chat", "path": str(tmp_path / "a.parquet")})
    assert isinstance(found[1], Reject)
    assert kind(found[1].reason) == "unreadable image"


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["00000.tar", "00000.tar.gz"])
def test_a_webdataset(tmp_path: Path, name: str) -> None:
    about = {"caption": "A cat.", "url": "https://example.org", "key": "0", "status": "success", "width": 8}
    members = {
        "0.jpg": picture(0), "0.txt": b"A cat.", "0.json": json.dumps(about).encode(),
        "1.json": b'{"caption": "A dog.", "NSFW": "UNLIKELY", "similarity": 0.3}', "1.jpg": picture(1),
    }  # fmt: skip
    path = write_tar(tmp_path / name, members)
    found = read({"format": "webdataset", "path": str(path)})
    assert isinstance(found[0], Record)
    assert (found[0].id, texts(found[0])[1], found[0].images[0].bytes) == ("0", "A cat.", picture(0))
    assert isinstance(found[1], Record), found[1]
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ParrotError, match="a tar that is broken or ends early"):
        read({"format": "webdataset", "path": str(path)})


def test_a_broken_sample_takes_no_other_with_it(tmp_path: Path) -> None:
    members = {
        "0.json": b'{"caption": ', "0.jpg": picture(0), "1.txt": b"One.", "1.jpg": picture(1),
        "2.txt": b"\xff", "2.jpg": picture(2), "3.txt": b"Three.", "3.jpg": picture(3), "3.JPG": picture(4),
    }  # fmt: skip
    found = read({"format": "webdataset", "path": str(write_tar(tmp_path / "a.tar", members))})
    reasons = [one.reason if isinstance(one, Reject) else one.id for one in found]
    assert reasons[0].startswith("broken sample: 0.json: Expecting value")
    assert reasons[1] == "1"
    assert reasons[2].startswith("broken sample: 2.txt: 'utf-8'")
    assert reasons[3] == "broken sample: 3.JPG: another file of the sample ends so"


def test_members_of_a_webdataset_are_not_kept(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{number}.txt": b"It." for number in range(200)})
    entries = read_entries(path, known_formats()["webdataset"])
    assert len(list(islice(entries, 150))) == 150
    assert sum(type(one) is tarfile.TarInfo for one in gc.get_objects()) < 10


def test_a_list_under_a_key_is_not_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_items, "CHUNK", 1 << 16)
    tree = {"annotations": [{"image_id": str(number), "caption": "x" * 200} for number in range(20_000)]}
    path = tmp_path / "filter_cap.json"
    path.write_text(json.dumps(tree))
    tracemalloc.start()
    count = sum(1 for _ in read_entries(path, known_formats()["cc_sbu_align"]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < path.stat().st_size / 5


def test_speakers_by_their_usual_names(tmp_path: Path) -> None:
    names = [("developer", "user", "assistant"), ("system", "human", "bing"), ("system", "user", "model")]
    items = [
        {"messages": [{"role": name, "content": "a"} for name in some], "id": place}
        for place, some in enumerate(names)
    ]
    for record in records({"format": "chat", "path": str(write_json_list(tmp_path / "a.json", items))}):
        assert [message.role for message in record.messages] == ["system", "user", "assistant"]


def test_conversations_in_a_webdataset(tmp_path: Path) -> None:
    talk = {"conversations": turns("<image>What?", "One.")}
    path = write_tar(tmp_path / "a.tar", {"x/0.json": json.dumps(talk).encode(), "x/0.png": picture(1)})
    own = {"columns": {"messages": "conversations", "images": ["png", "jpg"]}, "ignore": ["__key__"]}
    [record] = records({"format": own, "path": str(path)})
    assert (texts(record), record.images[0].bytes) == (["<image>\nWhat?", "One."], picture(1))


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
    assert kind(_only(read({"format": own, "path": str(path), "images": str(tmp_path)}))) == reason


def test_questions_and_answers_of_different_numbers(tmp_path: Path) -> None:
    path = write_json_list(tmp_path / "a.json", [{"q": ["a", "b"], "a": ["c"]}])
    own = {"columns": {"prompt": "q", "response": "a"}}
    assert _only(read({"format": own, "path": str(path)})) == "turns: 2 questions and 1 answers"


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
