"""What is too odd for a description: its module is entered here under the name that formats.yaml uses."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from parrot.data.sources import aokvqa, baize, coco

READERS: dict[str, Callable[[Path], Iterator[Any]]] = {"coco_captions": coco.read_captions}
"""The entries of a file."""
REWRITES: dict[str, Callable[[dict[str, Any], int], dict[str, Any]]] = {
    "aokvqa": aokvqa.rewrite,
    "baize": baize.rewrite,
}
"""Makes of an entry and its position one that columns describe, or raises `Rejected`."""
