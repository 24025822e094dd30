"""The checks on photographs and captions that people made, in six languages."""

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from parrot.data.looks import as_rows, distances, look
from parrot.validation.languages import LEAST_BYTES, other_language

STAMPS = Path(__file__).parents[2] / "../shared/reference/real-data/tuxpaint_stamps_six"
NEAR_BITS = 10
"""As conf/parts/base.yaml has it."""

pytestmark = pytest.mark.skipif(not STAMPS.is_dir(), reason="the real data are not here")


def test_no_caption_is_taken_for_another_language_and_wrong_ones_are_found() -> None:
    captions = [json.loads(line) for line in (STAMPS / "captions.jsonl").read_text("utf-8").splitlines()]
    long = [one for one in captions if len(one["text"].encode()) >= LEAST_BYTES]
    languages = sorted({one["language"] for one in long})
    judged = Counter(
        (declared == one["language"], other_language(one["text"], declared) is not None)
        for one in long
        for declared in languages
    )
    assert len(languages) == 6
    assert judged[True, True] == 0
    assert judged[False, True] > 0.98 * (judged[False, True] + judged[False, False])


def test_no_two_photographs_look_the_same_and_compressed_copies_do() -> None:
    pictures = []
    for file in sorted((STAMPS / "images").glob("*.jpg")):
        with PIL.Image.open(file) as image:
            pictures.append(image.convert("RGB"))
    looks = as_rows([look(picture) for picture in pictures])
    found = 0
    for number, picture in enumerate(pictures):
        apart = distances(looks, looks[number].tobytes())
        assert np.delete(apart, number).min() > NEAR_BITS
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=50)
        with PIL.Image.open(file) as copy:
            found += distances(looks[number : number + 1], look(copy.convert("RGB")))[0] <= NEAR_BITS
    assert found > 0.9 * len(pictures)
