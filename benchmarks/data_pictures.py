"""Small pictures, checked as `prepare` does it and decoded by Pillow alone: the two take turns."""

import io
import time
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image

from parrot.config import Images, Source
from parrot.data.images import decode_within
from parrot.data.sources.reading import SourceReader

IMAGES = Images(max_megapixels=64, min_pixels=32, max_pixels=4096)
NEAR_BITS = 10
TURN = 100  # pictures, until it is another's turn: other programs on the machine then disturb all alike


def check_pictures(folder: Path, count: int) -> dict[str, float]:
    """Pictures per CPU second out of an archive, and by Pillow alone out of memory; they take turns."""
    draw = np.random.default_rng(0)
    names = [f"{number:07d}.jpg" for number in range(count)]
    pictures = []
    for _ in range(50):
        blurred = PIL.Image.fromarray(draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((256, 192))
        file = io.BytesIO()
        blurred.save(file, "JPEG", quality=85)
        pictures.append(file.getvalue())
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, pictures[number % len(pictures)])
    source = Source(split="align", format="llava", path="pictures.json", language="en",
                    images=str(folder / "images.zip"))  # fmt: skip
    reader = SourceReader("pictures", source, IMAGES)
    looking = SourceReader("pictures", source, IMAGES.model_copy(update={"near_bits": NEAR_BITS}))
    assert reader.store
    read = reader.store.read
    talk = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A picture."}]

    def pillow(number: int) -> None:
        with PIL.Image.open(io.BytesIO(pictures[number % len(pictures)])) as image:
            image.convert("RGB")

    def picture(number: int) -> None:
        decode_within(read(names[number]), IMAGES.max_megapixels)

    def record(number: int) -> None:
        reader.record("en", number, {"id": number, "image": names[number], "conversations": talk})

    def look(number: int) -> None:
        looking.record("en", number, {"id": number, "image": names[number], "conversations": talk})

    jobs = (pillow, picture, record, look)
    for job in jobs:
        job(0)  # else the first turn pays for Pillow's start
    spent: dict[str, list[float]] = {job.__name__: [] for job in jobs}
    for start in range(0, count, TURN):
        for job in jobs:
            begun = time.process_time()
            for number in range(start, min(start + TURN, count)):
                job(number)
            spent[job.__name__].append(time.process_time() - begun)
        jobs = (*jobs[1:], jobs[0])
    alone = np.array(spent["pillow"])
    shares = {f"{name} share": float(np.median(alone / turns)) for name, turns in spent.items()}
    return {name: count / sum(turns) for name, turns in spent.items()} | shares
