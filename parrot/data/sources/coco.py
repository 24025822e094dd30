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
        if key == "images" and isinstance(item, dict) and _is_id(item.get("id")) and "file_name" in item
    }
    for key, item in read_members(path):
        if key == "annotations":
            known = isinstance(item, dict) and _is_id(item.get("image_id")) and item["image_id"] in names
            yield item | {"file_name": names[item["image_id"]]} if known else item


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str)
