"""Boxes fall on the patches that they cover."""

import pytest

from examples.picture_world.backbones.regions import Region, parse_regions, patches_of, words_by_position
from parrot.errors import ParrotError

WHOLE = Region(0, 0, 64, 64, ("two", "things"))


@pytest.mark.parametrize(
    ("box", "patches"),
    [
        ((0, 0, 16, 16), [0]),
        ((0, 0, 32, 16), [0, 1]),
        ((48, 48, 16, 16), [15]),
        ((4, 4, 6, 6), [0]),  # smaller than a patch, inside one
        ((15, 0, 16, 16), [1]),  # one pixel over the border does not count
        ((8, 8, 16, 16), [0, 1, 4, 5]),  # a quarter of each of four: none has more
        ((0, 0, 64, 64), list(range(16))),
    ],
)
def test_patches_of(box: tuple[int, int, int, int], patches: list[int]) -> None:
    assert patches_of(Region(*box, ("x",)), WHOLE, grid=4) == tuple(patches)


def test_words_by_position_puts_the_whole_first() -> None:
    positions = words_by_position([WHOLE, Region(0, 0, 32, 32, ("red", "star"))], grid=2)
    assert positions == [[("two", "things")], [("red", "star")], [], [], []]


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([], "no regions"),
        (None, "regions need x, y"),
        ([{"x": 0, "y": 0, "width": 1, "phrase": "a"}], "KeyError: 'height'"),
        ([{"x": "left", "y": 0, "width": 1, "height": 1, "phrase": "a"}], "ValueError"),
    ],
)
def test_broken_regions_name_the_place(entries: object, sentence: str) -> None:
    with pytest.raises(ParrotError) as error:
        parse_regions(entries, "regions.json: picture 7")
    assert str(error.value).startswith("regions.json: picture 7: ")
    assert sentence in str(error.value)
