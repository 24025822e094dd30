from pathlib import Path

import pytest
from small_sources import conversation, picture, question, small_world, write_tsv

from parrot.errors import ParrotError


def test_a_contaminated_picture_names_the_benchmark_file(tmp_path: Path) -> None:
    images = {f"{number}.jpg": picture(900 if number == 5 else number) for number in range(20)}
    world = small_world(tmp_path).only([conversation(number) for number in range(20)], images)
    below = tmp_path / "mmmb" / "test" / "en.tsv"
    below.parent.mkdir()
    (tmp_path / "mmmb" / "en.tsv").rename(below)
    world.run()
    assert world.rejects()[0]["reason"] == f"contaminated: 5.jpg is also in {below}"


def test_of_a_benchmark_only_the_pictures_are_read(tmp_path: Path) -> None:
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
