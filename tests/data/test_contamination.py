import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from small_sources import (
    World,
    changed,
    conversation,
    instruction,
    picture,
    question,
    small_world,
    turns,
    write_tsv,
)

from parrot.data.looks import LOOK_BYTES, MAX_BITS, as_rows, distances, look
from parrot.errors import ParrotError

ASKED = "Which of these animals lays its eggs in the nests of other birds?"
OPTIONS = {"A": "the cuckoo", "B": "the grey heron", "C": "the penguin", "D": "the peacock"}


def photo(seed: int) -> PIL.Image.Image:
    """Something with light and colours, of its own."""
    blobs = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return PIL.Image.fromarray(blobs).resize((160, 120), PIL.Image.Resampling.BICUBIC)


def saved(image: PIL.Image.Image, quality: int = 90, size: tuple[int, int] = (160, 120)) -> bytes:
    file = io.BytesIO()
    image.resize(size).save(file, "JPEG", quality=quality)
    return file.getvalue()


def with_photos(folder: Path, near_bits: int | None, own: bytes) -> World:
    """Twenty records; the picture of c7 is `own`, and a benchmark has photo 7."""
    images = {f"{number}.jpg": saved(photo(100 + number)) for number in range(20)} | {"7.jpg": own}
    world = small_world(folder).only([conversation(number) for number in range(20)], images)
    write_tsv(folder / "mmmb" / "en.tsv", [question(5, saved(photo(6))), question(6, saved(photo(7)))])
    return replace(world, images=changed(world.images, near_bits=near_bits))


def test_a_contaminated_picture_names_the_benchmark_file(tmp_path: Path) -> None:
    images = {f"{number}.jpg": picture(900 if number == 5 else number) for number in range(20)}
    world = small_world(tmp_path).only([conversation(number) for number in range(20)], images)
    below = tmp_path / "mmmb" / "test" / "en.tsv"
    below.parent.mkdir()
    (tmp_path / "mmmb" / "en.tsv").rename(below)
    world.run()
    assert world.rejects()[0]["reason"] == f"contaminated: 5.jpg is also in {below}, row 2"


def test_a_picture_that_was_scaled_and_compressed_again_is_found_by_its_look(tmp_path: Path) -> None:
    again = saved(photo(7), quality=60, size=(120, 90))
    world = with_photos(tmp_path, 10, again)
    assert world.run()["contaminated"] == 1
    [row] = world.rejects()
    where = f"{tmp_path / 'mmmb' / 'en.tsv'}, row 3"
    assert (row["record"], row["field"]) == ("c7", "image")
    assert row["reason"].startswith(f"contaminated: 7.jpg looks like the picture in {where} (")
    assert with_photos(tmp_path / "equal", None, again).run()["contaminated"] == 0
    assert with_photos(tmp_path / "other", 10, saved(photo(8))).run()["contaminated"] == 0


def test_looks_are_near_for_the_same_picture_and_far_for_others() -> None:
    looks = as_rows([look(photo(seed)) for seed in range(200)])
    assert looks.shape == (200, LOOK_BYTES)
    for seed in range(0, 200, 20):
        with PIL.Image.open(io.BytesIO(saved(photo(seed), 60, (120, 90)))) as again:
            apart = distances(looks, look(again.convert("RGB")))
        assert apart.argmin() == seed and apart[seed] <= MAX_BITS
        assert np.delete(apart, seed).min() > 4 * MAX_BITS
    red, green = (PIL.Image.new("RGB", (64, 64), colour) for colour in ("red", "green"))
    assert distances(as_rows([look(red)]), look(green))[0] > MAX_BITS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{ASKED}\nA. the cuckoo\nB. the grey heron\nC. the penguin\nD. the peacock\nAnswer.", True),
        (f"{ASKED.upper()} (A) the cuckoo (B) the grey heron (C) the penguin (D) the peacock", True),
        (f"{ASKED.replace('these', 'the')} the grey heron, the cuckoo, the penguin, the peacock", True),
        ("Which of these animals lays its eggs in the sand?", False),
        ("The cuckoo, the grey heron, the penguin and the peacock: which is the largest of them?", False),
    ],
)
def test_a_question_is_found_however_it_is_laid_out(tmp_path: Path, text: str, found: bool) -> None:
    items: list[Any] = [instruction(number) for number in range(20)] + [
        instruction(30) | {"instruction": text}
    ]
    world = small_world(tmp_path).only(items)
    rows = [question(1, picture(900)), question(2, picture(901), question=ASKED, **OPTIONS)]
    write_tsv(tmp_path / "mmmb" / "en.tsv", rows)
    assert world.run()["contaminated"] == found
    for row in world.rejects():
        assert row["field"] == "messages[0].content"
        assert f"asks what is asked in {tmp_path / 'mmmb' / 'en.tsv'}, row 3 (" in row["reason"]


def test_questions_are_not_compared_where_none_is_of_one_picture(tmp_path: Path) -> None:
    talks = [turns(f"What is {number}?", "It.") for number in range(20)] + [turns(ASKED, "That.")]
    images = {f"{number}.jpg": picture(900 if number == 5 else number) for number in range(21)}
    world = small_world(tmp_path).only([{"conversations": talk} for talk in talks], images)
    write_tsv(tmp_path / "mmmb" / "en.tsv", [question(2, picture(901), question=ASKED)])
    assert world.run()["contaminated"] == 1
    free = replace(world, mix=changed(world.mix, same_question=None))
    assert free.run()["contaminated"] == 0


def test_a_short_question_is_asked_of_many_pictures_and_an_answer_asks_nothing(tmp_path: Path) -> None:
    talks = [turns(f"What is {number}?", "It.") for number in range(20)]
    talks.append(turns("Tell me.", f"{ASKED} {' '.join(OPTIONS.values())}"))
    world = small_world(tmp_path).only([{"conversations": talk} for talk in talks], {})
    rows = [question(1, picture(900)), question(2, picture(901), question=ASKED, **OPTIONS)]
    write_tsv(tmp_path / "mmmb" / "en.tsv", rows)
    assert world.run()["contaminated"] == 0


def test_more_than_are_allowed_stop_it_and_are_named_on_both_sides(tmp_path: Path) -> None:
    images = {f"{number}.jpg": picture(900 if number == 5 else number) for number in range(20)}
    world = small_world(tmp_path).only([conversation(number) for number in range(20)], images)
    strict = replace(world, mix=changed(world.mix, max_contaminated=0))
    with pytest.raises(ParrotError) as error:
        strict.run()
    table = world.mixture("align") / "rejects.parquet"
    assert str(error.value).splitlines() == [
        "align: 1 records are in a benchmark, mix.max_contaminated allows 0:",
        f"  only: record c5: contaminated: 5.jpg is also in {tmp_path / 'mmmb' / 'en.tsv'}, row 2",
        f"all are listed in {table}; take them out of the data, or let so many be left out of the mixture",
    ]
    assert [path.name for path in world.mixture("align").iterdir()] == ["rejects.parquet"]
    assert world.mix_split()["records"] == 19


def test_of_a_benchmark_only_the_pictures_are_needed(tmp_path: Path) -> None:
    """Whatever its other columns are; a row may name another one's picture."""
    world = small_world(tmp_path)
    write_tsv(tmp_path / "mmmb" / "other.tsv", [{"image": question(1, picture(3))["image"]}, {"image": "1"}])
    assert world.run()["contaminated"] == 1
    (tmp_path / "mmmb" / "other.tsv").write_text("image\n" + "no base64? " * 9)
    with pytest.raises(ParrotError, match=r"other.tsv: row 2, column 'image': "):
        world.mix_split()
    (tmp_path / "mmmb" / "other.tsv").write_text("picture\n1\n")
    with pytest.raises(ParrotError, match=r"other.tsv: column 'image' is missing"):
        world.mix_split()
