"""What the stages wrote, row by row."""

from typing import Any

import pyarrow.parquet as pq
from small_sources import World

from parrot.data.checksums import SealedFile


def rows(world: World, name: str) -> list[dict[str, Any]]:
    """The records of a prepared source."""
    shards = sorted((world.prepared(world.sources[name].split) / name).glob("part-*.parquet"))
    return [row for shard in shards for row in SealedFile(shard).read().to_pylist()]


def rejects(world: World, name: str = "only") -> list[dict[str, str]]:
    """Of a prepared source."""
    table = pq.read_table(world.prepared(world.sources[name].split) / name / "rejects.parquet")
    found: list[dict[str, str]] = table.to_pylist()
    return found


def ids(world: World) -> list[str]:
    """Of the records of a mixture."""
    return [row["id"] for row in world.dataset()]
