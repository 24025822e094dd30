"""The folder of a prepared source is a data set of the Hub."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
from huggingface_hub import DatasetCard
from small_sources import digests, picture, small_world

from parrot.config_data import Origin


def test_the_card_says_what_is_in_the_shards_and_the_viewer_finds_them(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    world.sources["talk"] = world.sources["talk"].model_copy(
        update={"license": "cc-by-4.0", "origin": Origin(hub="a/b", file="talk.json")}
    )
    world.prepare_source("talk")
    folder = world.prepared("align") / "talk"
    card = DatasetCard.load(folder / "README.md")
    assert card.data.to_dict() == {
        "language": ["en", "zh"],
        "license": "cc-by-4.0",
        "pretty_name": "talk",
        "size_categories": ["n<1K"],
        "task_categories": ["image-text-to-text"],
        "source_datasets": ["a/b"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "part-*.parquet"}]}],
    }
    shards = sorted(folder.glob("part-*.parquet"))
    assert len(shards) > 1
    for shard in shards:
        assert f"| {shard.name} | `{hashlib.sha256(shard.read_bytes()).hexdigest()}` |" in card.text
    assert "| en | 20 |\n| zh | 10 |" in card.text
    assert "30 entries read = 30 kept + 0 mended" in card.text
    assert (folder / "pictures" / "3.jpeg").read_bytes() == picture(3)
    assert "![](pictures/0.jpeg)" in card.text
    before = digests(folder)
    world.prepare_source("talk")
    assert digests(folder) == before


def test_the_viewer_decodes_the_pictures_by_what_the_shards_say_of_them(tmp_path: Path) -> None:
    """As `datasets` reads it: features in the metadata, each of the type that its column has."""
    world = small_world(tmp_path)
    world.prepare_source("talk")
    schema = pq.read_schema(next((world.prepared("align") / "talk").glob("part-*.parquet")))
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["images"] == {"feature": {"_type": "Image"}, "_type": "List"}
    image = schema.field("images").type.value_type
    assert [(field.name, str(field.type)) for field in image] == [("bytes", "binary"), ("path", "string")]


def test_of_a_source_without_pictures_none_are_shown(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    world.prepare_source("text")
    folder = world.prepared("sft") / "text"
    assert DatasetCard.load(folder / "README.md").data.task_categories == ["text-generation"]
    assert not (folder / "pictures").exists()
