"""Records after public reports, from the file to what training gets."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow.parquet as pq
import pytest
from small_sources import PER_IMAGE, changed, small_backbones, small_world, write_json_list
from transformers import AutoImageProcessor, AutoTokenizer

from parrot.config import Images, Prepare, Source
from parrot.data.rejects import kind
from parrot.errors import ParrotError
from parrot.model.processing_parrot import ParrotProcessor
from parrot.training.conversations import ConversationCollator

REPORTED = Path(__file__).parents[2] / "../shared/reference/reported"
needs_reported = pytest.mark.skipif(
    not REPORTED.is_dir(), reason="the inputs after public reports are not beside this checkout"
)


class Prepared:
    """What became of a file in LLaVA's form."""

    def __init__(
        self,
        folder: Path,
        file: Path,
        max_length: int = 300,
        weight: float = 1.0,
        max_reject_share: float = 1.0,
        too_long: str = "cut",
    ) -> None:
        images = file.parent / "images"
        source = Source(
            split="align",
            format="llava",
            path=str(file),
            images=str(images if images.is_dir() else file),
            language="en",
        )
        world = small_world(folder)
        self.world = replace(
            world,
            sources={"reported": source},
            mix=changed(
                world.mix,
                align={"reported": weight},
                max_reject_share=max_reject_share,
                too_long=too_long,
            ),
            prepare=Prepare(partition_records=1000, max_reject_share=max_reject_share),
            images=Images(max_megapixels=1.0, min_pixels=1, max_pixels=4096),
        )
        self.max_length = max_length
        self.backbones = small_backbones(folder / "backbones")
        self.metrics = self.world.run(max_length=max_length)

    def rejects(self) -> list[tuple[str, str, str]]:
        """Record, field and kind of each row of the table."""
        return [(row["record"], row["field"], kind(row["reason"])) for row in self.world.rejects()]

    def records(self) -> list[dict[str, Any]]:
        return list(self.world.dataset())

    def texts(self) -> list[list[tuple[str, str]]]:
        return [[(turn["role"], turn["content"]) for turn in row["messages"]] for row in self.records()]

    def batches(self) -> Iterator[dict[str, Any]]:
        """As training asks for them."""
        processor = ParrotProcessor(
            image_processor=AutoImageProcessor.from_pretrained(self.backbones["vision"], backend="pil"),
            tokenizer=AutoTokenizer.from_pretrained(self.backbones["language"]),
            image_seq_length=PER_IMAGE,
        )
        collate = ConversationCollator(processor, self.max_length)
        rows = self.records()
        for start in range(0, len(rows), 4):
            yield collate(rows[start : start + 4])


def reported(name: str) -> Path:
    [folder] = REPORTED.glob(f"{name}_*")
    return folder / "records.json"


@needs_reported
def test_01_a_video_is_named_and_no_text_conversation(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match=r"1 of 1 entries rejected.* medium not read \(1\)"):
        Prepared(tmp_path, reported("01"), max_reject_share=0.01)
    rows = pq.read_table(tmp_path / "prepared" / "align" / "reported" / "rejects.parquet").to_pylist()
    assert [(row["field"], kind(row["reason"])) for row in rows] == [("video", "medium not read")]


SAID = ("system", "Answer in one word.")
EXPECTED: dict[str, list[list[tuple[str, str]]]] = {
    "02": [
        [SAID, ("user", "<image>\nWhat?"), ("assistant", "Noise.")],
        [SAID, ("user", "Sky?"), ("assistant", "Blue.")],
    ],
    "03": [[SAID, ("user", "Sky?"), ("assistant", "Blue.")]],
    "04": [[("user", "Who are you?"), ("assistant", "A model.")]],
    "05": [[("user", "<image>"), ("assistant", "A picture of noise.")]],
    "06": [
        [("user", "Left: <image> Right: <image> Which is darker?"), ("assistant", "The left one.")],
    ],
}


@needs_reported
@pytest.mark.parametrize("name", EXPECTED)
def test_02_to_06_are_taken_whole(name: str, tmp_path: Path) -> None:
    prepared = Prepared(tmp_path, reported(name))
    assert prepared.texts() == EXPECTED[name]
    assert prepared.rejects() == []
    [batch] = prepared.batches()
    placeholders = sum(text.count("<image>") for talk in EXPECTED[name] for _, text in talk)
    assert len(batch["pixel_values"]) == placeholders


def test_several_images_in_a_text_stay_in_their_places(tmp_path: Path) -> None:
    """Between the words around them there are the positions of one image each, and of the right one."""
    images = tmp_path / "images"
    images.mkdir()
    for name, shade in (("dark", 0), ("light", 255)):
        PIL.Image.new("RGB", (16, 16), (shade,) * 3).save(images / f"{name}.png")
    talk = [{"from": "human", "value": "Left: <image> Right: <image>?"}, {"from": "gpt", "value": "Left."}]
    entry = {"id": 1, "image": ["dark.png", "light.png"], "conversations": talk}
    prepared = Prepared(tmp_path, write_json_list(tmp_path / "records.json", [entry]))
    [batch] = prepared.batches()
    tokenizer = AutoTokenizer.from_pretrained(prepared.backbones["language"])
    [text] = tokenizer.batch_decode(batch["input_ids"])
    run = "<image>" * PER_IMAGE
    assert f"user\nLeft: {run} Right: {run}?<|im_end|>" in text
    assert batch["pixel_values"][0].max() < batch["pixel_values"][1].min()
    [row] = prepared.records()
    shades = [PIL.Image.open(io.BytesIO(image)).getpixel((0, 0)) for image in row["images"]]
    assert shades == [(0, 0, 0), (255, 255, 255)]


@needs_reported
def test_16_a_weight_makes_no_duplicates(tmp_path: Path) -> None:
    count = len(json.loads(reported("16").read_text(encoding="utf-8")))
    prepared = Prepared(tmp_path, reported("16"), weight=2.0, max_reject_share=0.0)
    assert (prepared.metrics["records"], prepared.metrics["samples"]) == (count, 2 * count)
    assert len(prepared.records()) == 2 * count


@needs_reported
@pytest.mark.parametrize("too_long", ["drop", "cut"])
def test_17_one_long_record_is_named_and_the_rest_goes_on(too_long: str, tmp_path: Path) -> None:
    entries = json.loads(reported("17").read_text(encoding="utf-8"))
    prepared = Prepared(tmp_path, reported("17"), too_long=too_long, max_reject_share=0.01)
    assert prepared.rejects() == [("7", "messages", "too long")]
    assert (prepared.metrics["records"], prepared.metrics["too_long"]) == (len(entries) - 1, 1)


@pytest.mark.parametrize("too_long", ["drop", "cut"])
def test_18_what_prepare_lets_through_never_stops_training(too_long: str, tmp_path: Path) -> None:
    """Records around the limit, with images and without: some of them are over it by a single position."""
    images = tmp_path / "images"
    images.mkdir()
    PIL.Image.new("RGB", (16, 16)).save(images / "0.png")
    entries = []
    for number in range(60):
        question = ("<image>\n" if number % 2 else "") + "What is it? " + "a" * number
        talk = [
            ("human", question),
            ("gpt", f"Number {number}."),
            ("human", "Say it."),
            ("gpt", "it " * (number + 1)),
        ]
        entry = {"conversations": [{"from": who, "value": text} for who, text in talk]}
        entries.append(entry | ({"image": "0.png"} if number % 2 else {}))
    prepared = Prepared(
        tmp_path, write_json_list(tmp_path / "records.json", entries), max_length=120, too_long=too_long
    )
    widths = [batch["input_ids"].shape[1] for batch in prepared.batches()]
    assert 110 < max(widths) <= 120
    metrics = prepared.metrics
    assert metrics["records"] + metrics["too_long"] == 60
    assert (metrics["cut"] > 5) == (too_long == "cut")
    assert len(prepared.rejects()) == metrics["too_long"] + metrics["cut"] > 5
