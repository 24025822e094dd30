"""Scenes, their pictures and their region descriptions."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from io import BytesIO
from random import Random

import pytest
from PIL import Image

from examples.picture_world.world.drawing import draw_picture, encode, item_box
from examples.picture_world.world.icons import glyph, icon
from examples.picture_world.world.phrases import regions
from examples.picture_world.world.questions import (
    CATEGORIES,
    Question,
    draw_options,
    draw_questions,
    questions,
)
from examples.picture_world.world.scene import (
    COLOURS,
    DIGITS,
    HELD_BACK,
    KINDS,
    LETTERS,
    NOUNS,
    SHAPES,
    Scene,
    draw_scene,
    shows_held_back,
)

HASH_PICTURES = """
import hashlib
from random import Random
from examples.picture_world.world.drawing import draw_picture, encode
from examples.picture_world.world.scene import draw_scene
digest = hashlib.sha256()
for index in range(120):
    digest.update(encode(draw_picture(draw_scene(Random(f"simd {index}")))))
print(digest.hexdigest())
"""


def scenes(count: int, name: str = "scenes") -> list[Scene]:
    return [draw_scene(Random(f"{name} {index}")) for index in range(count)]


@pytest.mark.parametrize("setting", ["JSIMD_FORCENONE", "JSIMD_FORCESSE2"])
def test_bytes_do_not_depend_on_simd(setting: str) -> None:
    digest = hashlib.sha256()
    for index in range(120):
        digest.update(encode(draw_picture(draw_scene(Random(f"simd {index}")))))
    done = subprocess.run(
        [sys.executable, "-c", HASH_PICTURES],
        env=os.environ | {setting: "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == digest.hexdigest()


def test_bitmaps_are_square_and_differ() -> None:
    values = ("happy", "sad", "angry", "surprised", "up", "down", "left", "right")
    icons = ["\n".join(icon(name, 1)) for name in (*NOUNS, *values)]
    assert len(set(icons)) == len(icons)
    assert all(len(row) == 11 for rows in icons for row in rows.split("\n"))
    assert all(len(rows.split("\n")) == 11 for rows in icons)
    glyphs = {"\n".join(glyph(character, 1)) for character in (*DIGITS, *LETTERS)}
    assert len(glyphs) == len(DIGITS) + len(LETTERS)
    assert all([len(row) for row in rows.split("\n")] == [5] * 7 for rows in glyphs)


def test_pictures_are_small_rgb_jpegs() -> None:
    for scene in scenes(40):
        picture = Image.open(BytesIO(encode(draw_picture(scene))))
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (64, 64))


def test_every_colour_and_noun_is_still_taught() -> None:
    assert 0.1 <= len(HELD_BACK) / (len(COLOURS) * len(NOUNS)) <= 0.15
    taught = {(item.colour, item.noun) for scene in scenes(6000) for item in scene.items if item.colour}
    assert not taught & HELD_BACK
    assert {colour for colour, _ in taught} == set(COLOURS)
    assert {noun for _, noun in taught} == set(NOUNS)
    allowed = (draw_scene(Random(f"allowed {i}"), held_back=True) for i in range(300))
    assert any(shows_held_back(scene) for scene in allowed)


def overlap(one: tuple[int, int, int, int], two: tuple[int, int, int, int]) -> int:
    width = min(one[0] + one[2], two[0] + two[2]) - max(one[0], two[0])
    height = min(one[1] + one[3], two[1] + two[3]) - max(one[1], two[1])
    return max(0, width) * max(0, height)


def test_a_patch_is_about_one_item_and_no_item_is_without_a_patch() -> None:
    patches = [(16 * column, 16 * row, 16, 16) for row in range(4) for column in range(4)]
    for scene in scenes(3000, "patches"):
        owners: Counter[int] = Counter()
        for item in scene.items:
            box = item_box(item)
            enough = 0.3 * min(256, box[2] * box[3])
            covered = [number for number, patch in enumerate(patches) if overlap(box, patch) >= enough]
            assert covered
            owners.update(covered)
        assert not owners or max(owners.values()) == 1


def test_region_words_are_few_and_hold_the_answers() -> None:
    words: set[str] = set()
    for scene in scenes(3000, "words"):
        described = regions(scene, 7)
        phrases = [region["phrase"] for region in described]
        words.update(word for phrase in phrases for word in phrase.split())
        assert (described[0]["width"], described[0]["height"]) == (64, 64)
        assert len({region["region_id"] for region in described}) == len(described)
        if scene.group:
            assert scene.group[0].noun in phrases[0].split()
        for region, item in zip(described[1:], scene.items, strict=False):
            assert {item.noun, *item.colour.split(), *item.place.split()} <= set(region["phrase"].split())
    assert len(words) < 120
    assert all(word == word.lower() for word in words)


def right_answers(scene: Scene, question: Question) -> set[str]:
    """What is right, found another way than the questions were made."""
    items = scene.items
    match question.category:
        case "colour":
            return {item.colour for item in items if item.noun == question.noun}
        case "binding":
            return {item.noun for item in items if item.colour == question.detail}
        case "object":
            return {item.noun for item in items if item.place == question.detail}
        case "shape":
            return {item.noun for item in items if item.noun in SHAPES}
        case "position":
            return {item.place for item in items if item.noun == question.noun}
        case "size" | "pattern":
            return {getattr(item, question.category) for item in items if item.noun == question.noun}
        case "digit" | "letter" | "direction" | "emotion":
            return {item.value for item in items if item.noun == question.noun}
        case "relation":
            one, two = (
                next(item_box(i) for i in items if i.noun == n) for n in (question.noun, question.other)
            )
            across, down = one[0] - two[0], one[1] - two[1]
            if abs(across) > abs(down):
                return {"left" if across < 0 else "right"}
            return {"above" if down < 0 else "below"}
        case "count":
            return {("one", "two", "three", "four", "five")[sum(i.noun == question.noun for i in items) - 1]}
        case "scene":
            return {scene.background}
        case _:
            bars = sorted(scene.bars, key=lambda bar: bar.height)
            return {bars[-1 if question.detail == "tallest" else 0].colour}


def test_every_question_has_exactly_one_right_answer() -> None:
    seen = set()
    for scene in scenes(2000, "right"):
        for question in questions(scene):
            assert right_answers(scene, question) == {question.answer}
            assert question.answer in question.candidates
            seen.add(question.category)
    assert seen == set(CATEGORIES)


def test_training_asks_about_all_categories_and_values_about_evenly() -> None:
    rng = Random("even")
    asked: Counter[str] = Counter()
    answers: dict[str, Counter[str]] = {category: Counter() for category in CATEGORIES}
    for _ in range(6000):
        for question in draw_questions(rng, draw_scene(rng), 5):
            asked[question.category] += 1
            answers[question.category][question.answer] += 1
    mean = asked.total() / len(CATEGORIES)
    assert all(0.7 < asked[category] / mean < 1.4 for category in CATEGORIES), asked
    for category, values in CATEGORIES.items():
        mean = answers[category].total() / len(values)
        assert all(0.6 < answers[category][value] / mean < 1.5 for value in values), answers[category]


def test_a_conversation_never_asks_the_same_twice() -> None:
    rng = Random("twice")
    for scene in scenes(500, "twice"):
        drawn = draw_questions(rng, scene, 5)
        assert len(drawn) == len(set(drawn)) <= 5


def test_options_are_distinct_and_hold_the_answer_where_wanted() -> None:
    rng = Random("options")
    for scene in scenes(300, "options"):
        for question in questions(scene):
            options = draw_options(rng, question, 3)
            assert len(set(options)) == len(options) == min(4, len(question.candidates))
            assert options[3 % len(options)] == question.answer


def test_all_kinds_occur() -> None:
    assert {scene.kind for scene in scenes(100)} == set(KINDS)
