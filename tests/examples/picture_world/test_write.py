"""The world on disk, and the command that puts it there."""

import base64
import csv
import hashlib
import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from examples.picture_world.sections import World
from examples.picture_world.world.benchmark_rows import FILE_CODES, draw_rows
from examples.picture_world.world.instructions import draw_instructions
from examples.picture_world.world.languages import BENCHMARK_WORDINGS, LANGUAGES
from examples.picture_world.world.questions import CATEGORIES
from examples.picture_world.world.scene import HELD_BACK
from examples.picture_world.world.write_world import write_world
from parrot.errors import ParrotError
from parrot.evaluation.inference.prompts import protocols

SIZES = {
    "backbone_pictures": 300,
    "reading_documents": 300,
    "align_captions": 60,
    "align_questions": 60,
    "sft_pictures": 260,
    "text_instructions": 120,
    "questions_per_category": 4,
}
WORLD = World(seed=5, **SIZES)
PICTURES = ("backbones", "captions", "questions", "conversations")
CODES = ("en", "cn", "pt", "ar", "tr", "ru")
NA_WORDS = {"", "NA", "N/A", "n/a", "nan", "NaN", "None", "null", "NULL", "<NA>", "-nan", "#N/A", "-NaN"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("demo") / "data"
    write_world(WORLD, target)
    return target


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def table(world: Path, split: str, code: str) -> list[dict[str, str]]:
    path = world / "mmmb" / split / f"mmmb_{code}.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_same_seed_same_bytes_whatever_the_workers(world: Path, tmp_path: Path) -> None:
    write_world(WORLD, tmp_path / "again", workers=1)
    assert digests(tmp_path / "again") == digests(world)


def test_another_seed_gives_other_pictures(world: Path, tmp_path: Path) -> None:
    write_world(World(seed=6, **SIZES | {"backbone_pictures": 20, "sft_pictures": 20}), tmp_path / "other")
    ours, theirs = (pictures(folder / "backbones" / "images.zip") for folder in (world, tmp_path / "other"))
    assert not set(ours.values()) & set(theirs.values())


def test_it_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(ParrotError, match=r"world\.text_instructions: there are only \d+ different tasks"):
        write_world(World(seed=5, **SIZES | {"backbone_pictures": 1, "text_instructions": 10**6}), target)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "old"]


def pictures(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_archives_are_stored_with_fixed_attributes(world: Path) -> None:
    for folder in PICTURES:
        with zipfile.ZipFile(world / folder / "images.zip") as archive:
            for info in archive.infolist():
                assert info.compress_type == zipfile.ZIP_STORED
                assert (info.date_time, info.external_attr) == ((1980, 1, 1, 0, 0, 0), 0o644 << 16)


def test_llava_files_point_at_their_pictures(world: Path) -> None:
    for name, count in (("captions", 60), ("questions", 60), ("conversations", 260)):
        entries = {code: load(world / name / f"{code}.json") for code in LANGUAGES}
        used = [entry["image"] for each in entries.values() for entry in each]
        assert sorted(used) == sorted(pictures(world / name / "images.zip"))
        assert len(used) == len(set(used)) == count
        share = len(entries["en"]) / count
        assert share == pytest.approx(0.6 if name == "conversations" else 0.75, abs=0.02)
        assert all(entries.values())
        for each in entries.values():
            for entry in each:
                turns = entry["conversations"]
                assert [turn["from"] for turn in turns] == ["human", "gpt"] * (len(turns) // 2)
                assert [turn["value"].count("<image>") for turn in turns] == [1] + [0] * (len(turns) - 1)
                assert 2 <= len(turns) <= 10
                asked = [turn["value"].removeprefix("<image>\n") for turn in turns[::2]]
                assert len(asked) == len(set(asked))


def test_reading_documents_come_evenly_in_all_languages(world: Path) -> None:
    lines = (world / "backbones" / "reading.jsonl").read_text(encoding="utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    assert Counter(document["language"] for document in documents) == dict.fromkeys(LANGUAGES, 50)
    assert len({document["id"] for document in documents}) == 300
    for document in documents:
        prompts = LANGUAGES[document["language"]].PROMPTS
        asked = [turn["value"] for turn in document["conversations"][::2]]
        assert 1 <= len(asked) <= 5
        assert all(question not in prompts for question in asked[:-1])
        captions = sum(question in prompts for question in asked)
        held = document["grounding"]
        assert len(held) == len(asked) and [bool(regions) for regions in held].count(False) == captions
        assert {i for regions in held for i in regions} <= set(range(len(document["regions"])))
    captioned = sum(
        document["conversations"][-2]["value"] in LANGUAGES[document["language"]].PROMPTS
        for document in documents
    )
    assert 0.08 < captioned / len(documents) < 0.22


def test_questions_are_asked_by_letter_too(world: Path) -> None:
    for code, language in LANGUAGES.items():
        talks = [entry["conversations"] for entry in load(world / "conversations" / f"{code}.json")]
        turns = [turn for talk in talks for turn in zip(talk[::2], talk[1::2], strict=True)]
        by_letter = [
            (ask["value"].split("\n"), give["value"]) for ask, give in turns if give["value"] in "ABCD"
        ]
        assert 0.25 < len(by_letter) / len(turns) < 0.55
        closed = 0
        for lines, letter in by_letter:
            options = [line for line in lines if line[:3] in ("A. ", "B. ", "C. ", "D. ")]
            assert "ABCD"[: len(options)] == "".join(option[0] for option in options)
            assert letter <= "ABCD"[len(options) - 1] and 2 <= len(set(options)) == len(options) <= 4
            closed += lines[-1] in language.CLOSINGS
            assert lines[-1] in (*language.CLOSINGS, options[-1])
        assert 0.5 < closed / len(by_letter) < 1
    # As the benchmark asks them; MMMB's lines are the first of each language.
    asked = protocols()["letter_likelihood"].closing
    assert {code: language.CLOSINGS[0] for code, language in LANGUAGES.items()} == asked


@pytest.mark.parametrize("code", LANGUAGES)
def test_each_split_has_its_own_wording(world: Path, code: str) -> None:
    for split, wording in BENCHMARK_WORDINGS.items():
        templates = [wordings[wording] for wordings in LANGUAGES[code].QUESTIONS.values()]
        forms = [re.sub(r"\\{\w+\\}", ".+", re.escape(template)) for template in templates]
        for row in table(world, split, FILE_CODES.get(code, code)):
            assert any(re.fullmatch(form, row["question"], re.IGNORECASE) for form in forms), row["question"]


def test_instructions_are_different_alpaca_tasks(world: Path) -> None:
    tasks = load(world / "instructions" / "en.json")
    assert len({(task["instruction"], task["input"]) for task in tasks}) == len(tasks) == 120
    assert all(set(task) == {"instruction", "input", "output"} and task["output"] for task in tasks)
    assert any(not task["input"] for task in tasks)
    many = draw_instructions(Random("many"), 600)
    assert len({(task["instruction"], task["input"]) for task in many}) == 600


def test_benchmark_is_parallel_in_six_languages(world: Path) -> None:
    for split in ("dev", "test"):
        tables = {code: table(world, split, code) for code in CODES}
        english = tables["en"]
        assert Counter(row["category"] for row in english) == dict.fromkeys(CATEGORIES, 4)
        for rows in tables.values():
            for row, other in zip(rows, english, strict=True):
                same = ("index", "answer", "category", "split", "image")
                assert [row[key] for key in same] == [other[key] for key in same]
                assert [bool(row[letter]) for letter in "ABCD"] == [bool(other[letter]) for letter in "ABCD"]
                options = [row[letter] for letter in "ABCD" if row[letter]]
                assert 2 <= len(options) == len(set(options))
                assert row[row["answer"]] and not NA_WORDS & set(options)


def test_benchmark_pictures_are_new_and_sometimes_shared(world: Path) -> None:
    training = {
        picture for folder in PICTURES for picture in pictures(world / folder / "images.zip").values()
    }
    seen: set[bytes] = set()
    for split in ("dev", "test"):
        rows = {row["index"]: row["image"] for row in table(world, split, "en")}
        shared = [image for image in rows.values() if len(image) <= 64]
        assert shared and all(len(rows[image]) > 64 for image in shared)
        own = [base64.b64decode(image, validate=True) for image in rows.values() if len(image) > 64]
        assert len(set(own)) == len(own)
        assert not set(own) & (training | seen)
        seen |= set(own)


def named_pairs(texts: list[str]) -> set[tuple[str, str]]:
    """Pairs of colour and noun that occur side by side (a pattern or letter may stand between)."""
    found = set()
    for text in texts:
        for colour, noun in HELD_BACK:
            if re.search(rf"\b{colour} (\w+ )?{noun}s?\b", text):
                found.add((colour, noun))
    return found


def test_no_training_picture_shows_a_held_back_pair(world: Path) -> None:
    described = load(world / "backbones" / "region_descriptions.json")
    phrases = [region["phrase"] for entry in described for region in entry["regions"]]
    talk: list[list[dict[str, str]]] = []
    for file in ("captions/en.json", "conversations/en.json"):
        talk += [entry["conversations"] for entry in load(world / file)]
    tasks = [task["input"] for task in load(world / "instructions" / "en.json")]
    assert named_pairs(["two big red plain fish"]) == {("red", "fish")}  # the search itself finds pairs
    assert not named_pairs(phrases + tasks + [turn["value"] for turns in talk for turn in turns])
    for turns in talk:
        for asked, answered in zip(turns[::2], turns[1::2], strict=True):
            if colour := re.search(r"What is the (\w+) thing", asked["value"]):
                assert (colour[1], answered["value"].split()[-1]) not in HELD_BACK
            if noun := re.search(r"What colour is the (\w+)\?", asked["value"]):
                assert (answered["value"], noun[1]) not in HELD_BACK


def test_benchmark_is_balanced_and_asks_for_held_back_pairs() -> None:
    rows = draw_rows(1, "test", 40, set())
    assert [row.index for row in rows] == list(range(40 * len(CATEGORIES)))
    for category, values in CATEGORIES.items():
        ours = [row for row in rows if row.question.category == category]
        letters = Counter(row.answer for row in ours if len(row.options) == 4)
        if letters:
            assert max(letters.values()) - min(letters[letter] for letter in "ABCD") <= 6
        answers = Counter(row.question.answer for row in ours)
        assert max(answers.values()) - min(answers[value] for value in values) <= 1
        if category in ("colour", "binding"):
            assert sum(row.question.target in HELD_BACK for row in ours) == 12
