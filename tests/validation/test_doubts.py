"""Near duplicates, texts in other languages and drift: found where they are planted, and nowhere else."""

import io
import json
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from talks import IMAGES, LIMITS, good, picture, say
from test_validate import run
from written_mixtures import MixedRecord

from parrot.config import Validate
from parrot.data.digests import digest
from parrot.data.looks import LOOK_BYTES
from parrot.data.records import Image
from parrot.errors import ParrotError
from parrot.validation.doubts import Doubts
from parrot.validation.drift import drift
from parrot.validation.languages import other_language
from parrot.validation.near_duplicates import NearDuplicates, look_keys, text_keys
from parrot.validation.repeated import Repeated

TURKISH = "Nehrin kenarında duran küçük bir balıkçıl, suda hareketsiz bekleyerek balık arıyor."
CHINESE = "一只小鹭站在河边，一动不动地在水里等着，寻找鱼。"
ENGLISH = "A small heron that stands by the river and waits, without moving, for a fish to come near."


def limits(**values: Any) -> Validate:
    return LIMITS.model_copy(update=values)


def doubts(folder: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = pq.read_table(folder / "reports/doubts.parquet").to_pylist()
    return rows


def telling(record: MixedRecord, text: str, images: tuple[Image, ...] = ()) -> MixedRecord:
    asked = "<image>" if images else "What is to be seen there?"
    return replace(record, messages=say(("user", asked), ("assistant", text)), images=images)


def pictured() -> list[MixedRecord]:
    """Good records, no two of one picture."""
    return [
        replace(one, images=(Image(f"{place}.jpg", picture(place) + b"%d" % place),))
        for place, one in enumerate(good())
    ]


def words(seed: int, count: int = 60) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefghijklmnoprstu", k=draw.randint(2, 9))) for _ in range(count)]


def test_a_text_in_another_language_is_listed_and_too_many_of_a_source_stop_it(tmp_path: Path) -> None:
    records = [telling(one, CHINESE if one.language == "zh" else ENGLISH, one.images) for one in pictured()]
    records[3] = telling(records[3], TURKISH, records[3].images)
    metrics = run(tmp_path, records, limits(max_other_language_share=0.05))
    assert metrics["talk_other_language_share"] == 1 / 40
    [row] = doubts(tmp_path)
    assert (row["source"], row["record"], row["check"]) == ("talk", "r3", "should be in en")
    assert row["value"].startswith("tr: ")
    with pytest.raises(
        ParrotError, match=r"talk: share of texts in another language than declared: 0 to 0.01"
    ):
        run(tmp_path, limits=limits(max_other_language_share=0.01))
    assert "talk_other_language_share" not in run(tmp_path)
    assert doubts(tmp_path) == []


def test_a_task_to_translate_is_in_the_language_that_it_is_set_in(tmp_path: Path) -> None:
    talk = say(("user", f"Translate into Turkish:\n{ENGLISH}"), ("assistant", TURKISH))
    records = [replace(one, messages=talk, images=()) for one in good()]
    loose = limits(max_other_language_share=1.0, max_text_only_share=1.0, max_duplicate_share=1.0)
    assert run(tmp_path, records, loose)["talk_other_language_share"] == 10 / 40  # those that should be in zh


def test_of_a_large_source_some_texts_are_looked_at(tmp_path: Path) -> None:
    records = [telling(one, TURKISH, one.images) for one in pictured()]
    for most, looked_at in ((10, 10), (21, 20)):
        folder = tmp_path / str(most)
        metrics = run(folder, records, limits(max_other_language_share=1.0, language_sample=most))
        assert metrics["talk_other_language_share"] == 1.0
        assert len(doubts(folder)) == looked_at


@pytest.mark.parametrize(
    ("text", "declared", "found"),
    [
        (ENGLISH, "en", None), (ENGLISH, "zh", "en"), (CHINESE, "zh", None), (CHINESE, "ru", "zh"),
        (TURKISH, "tr", None), (TURKISH, "pt", "tr"), ("Um sapo.", "en", None), (ENGLISH, "tlh", None),
    ],
)  # fmt: skip
def test_languages(text: str, declared: str, found: str | None) -> None:
    assert other_language(text, declared) == found


def test_near_duplicates_of_text_are_listed_and_limited(tmp_path: Path) -> None:
    records = [replace(telling(one, " ".join(words(place))), copies=1) for place, one in enumerate(good())]
    again = words(3)
    records[20] = telling(records[20], " ".join(again[:57]) + ", and so on.")
    allowed = limits(max_near_duplicate_share=0.05, max_text_only_share=1.0)
    metrics = run(tmp_path, records, allowed)
    assert metrics["near_duplicate_share"] == 1 / 40
    [row] = doubts(tmp_path)
    assert (row["record"], row["field"], row["value"]) == ("r20", "messages", "talk r3")
    with pytest.raises(ParrotError, match="share of records that nearly repeat an earlier one: 0 to 0"):
        run(tmp_path, limits=limits(max_near_duplicate_share=0.0, max_text_only_share=1.0))


def test_the_same_text_about_another_picture_is_no_near_duplicate(tmp_path: Path) -> None:
    told = " ".join(words(1))
    records = [telling(one, f"{told} {place}", one.images) for place, one in enumerate(pictured())]
    assert run(tmp_path, records, limits(max_near_duplicate_share=0.0))["near_duplicate_share"] == 0
    same = [telling(one, f"{told} {place}", good()[0].images) for place, one in enumerate(good())]
    metrics = run(tmp_path / "same", same, limits(max_near_duplicate_share=1.0))
    assert metrics["near_duplicate_share"] > 0.9


def test_pictures_that_look_like_earlier_ones_are_listed(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    records = [
        replace(one, looks=(draw.bytes(LOOK_BYTES),), images=(Image(f"{place}.jpg", picture(place)),))
        for place, one in enumerate(good())
    ]
    other_bit = bytes([records[3].looks[0][0] ^ 1]) + records[3].looks[0][1:]
    records[20] = replace(records[20], looks=(other_bit,))
    records[21] = replace(records[21], looks=records[4].looks, images=records[4].images)  # the same, again
    found = limits(max_near_picture_share=1.0)
    metrics = run(tmp_path, records, found, IMAGES.model_copy(update={"near_bits": 4}))
    assert metrics["near_picture_share"] == 1 / 40
    [row] = doubts(tmp_path)
    assert (row["record"], row["field"], row["value"]) == ("r20", "images", "talk r3")


def test_looks_that_differ_in_as_many_bits_as_are_allowed_are_found_among_many() -> None:
    draw = np.random.default_rng(1)
    looks = [draw.bytes(LOOK_BYTES) for _ in range(3000)]
    for place in range(0, 3000, 100):
        bits = np.unpackbits(np.frombuffer(looks[place], np.uint8))
        bits[draw.choice(384, 11 if place else 12, replace=False)] ^= 1
        looks.append(np.packbits(bits).tobytes())
    search = NearDuplicates(11)
    search.add(range(len(looks)), look_keys(looks), [digest(one) for one in looks], looks)
    pairs = set(search.pairs())
    assert pairs == {(3000 + place // 100, place) for place in range(100, 3000, 100)}
    assert search.count == 29


def test_every_record_of_a_picture_that_nearly_repeats_another_counts() -> None:
    first = np.random.default_rng(1).bytes(LOOK_BYTES)
    again = bytes([first[0] ^ 1]) + first[1:]
    looks = [first] + 20 * [again] + [first]
    search = NearDuplicates(4)
    search.add(range(22), look_keys(looks), [digest(one) for one in looks], looks)
    assert sorted(search.pairs()) == [(place, 0) for place in range(1, 21)]
    assert search.count == 20


def test_files_of_keys_are_closed_also_when_a_check_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[io.BytesIO] = []

    def temporary(**settings: Any) -> io.BytesIO:
        opened.append(io.BytesIO())
        return opened[-1]

    monkeypatch.setattr("parrot.validation.near_duplicates.tempfile.TemporaryFile", temporary)
    both = limits(max_near_duplicate_share=1.0, max_near_picture_share=1.0)
    images = IMAGES.model_copy(update={"near_bits": 4})
    with pytest.raises(ZeroDivisionError), Doubts(both, images, {}), Repeated():
        raise ZeroDivisionError
    assert len(opened) == 128  # of all four searches: some systems allow a process 256
    assert all(file.closed for file in opened)


def test_texts_share_a_key_if_they_are_near() -> None:
    base = " ".join(words(1, 200))
    _, keys = text_keys([base, base.upper().replace(" ", "  "), f"{base} Yes.", " ".join(words(2, 200))])
    assert (keys[0] == keys[1]).all()
    assert (keys[0] == keys[2]).any()
    assert not (keys[0] == keys[3]).any()
    places, _ = text_keys(["too short", base, "我们", ""])
    assert places == [1]


def test_drift_names_what_moved_most() -> None:
    before = {"source_share": {"a": 0.5, "b": 0.5}, "language_share": {"en": 0.9, "zh": 0.1}}
    now = {"source_share": {"a": 0.6, "c": 0.4}, "language_share": {"en": 0.8, "zh": 0.2}}
    moved, how = drift(before, now)
    assert (round(moved, 3), how) == (0.5, "source b: 0.500 before, 0.000 now")
    assert drift({}, now) == (0.0, "nothing to compare")


def test_a_mixture_that_is_another_one_than_in_the_last_commit_stops_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    strict = limits(max_drift=0.1, english_share=[0.0, 1.0])
    assert run(tmp_path, good(), strict)["drift"] == 0
    git("init", "--quiet")
    git("add", "metrics.json")
    git("commit", "--quiet", "--message", "first")
    assert "drift" not in json.loads((tmp_path / "metrics.json").read_text())
    (tmp_path / "again").mkdir()
    for name in ("prepared", "mixture"):
        (tmp_path / name).rename(tmp_path / "again" / name)
    moved = [replace(one, language="zh") if place < 20 else one for place, one in enumerate(good())]
    with pytest.raises(ParrotError) as error:
        run(tmp_path, moved, strict)
    assert "(language zh: 0.250 before, 0.625 now), validate.max_drift allows 0.1" in str(error.value)
    assert not (tmp_path / "stamp.json").exists()
    git("commit", "--quiet", "--message", "meant", "metrics.json")
    assert run(tmp_path, limits=strict)["drift"] == 0
