"""COCO's own captions: {"images": [{"id", "file_name"}], "annotations": [{"id", "image_id", "caption"}]}."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parrot.data.sources.json_items import read_members


def read_captions(path: Path) -> Iterator[Any]:
    """Each caption with the name of its picture; whichever of the two lists stands first.

    Raises:
        ParrotError: the file is missing or broken.
    """
    names = {
        item["id"]: item["file_name"]
        for key, item in read_members(path)
        if key == "images" and isinstance(item, dict) and {"id", "file_name"} <= item.keys()
    }
    for key, item in read_members(path):
        if key == "annotations":
            known = isinstance(item, dict) and item.get("image_id") in names
            yield item | {"file_name": names[item["image_id"]]} if known else item
