"""The card of a prepared source: with it the folder of its shards is a data set that the Hub shows."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData

from parrot.config import Source
from parrot.data.images import image_header
from parrot.data.partitions import Partition
from parrot.data.shards import open_shard
from parrot.files import file_digest

CARD = "README.md"
_PICTURES = 4
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "n>1B")


def write_dataset_card(
    folder: Path, name: str, source: Source, partitions: Sequence[Partition], values: Mapping[str, Any]
) -> None:
    """Write README.md, and a few of the pictures, beside the shards in `folder`.

    Args:
        values: the metrics of the stage.
    """
    records: Counter[str] = Counter()
    for part in partitions:
        records[part.language] += part.entries - len(part.rejected)
    pictures = list(_write_pictures(folder, partitions))
    hub = source.origin.hub if source.origin else None
    metadata = DatasetCardData(
        language=list(records),
        license=source.license,
        pretty_name=name,
        size_categories=[_SIZES[min(max(len(str(records.total())) - 3, 0), len(_SIZES) - 1)]],
        task_categories=["image-text-to-text" if values["images"] else "text-generation"],
        source_datasets=[hub] if hub else None,
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "part-*.parquet"}]}],
    )
    published = f"[{hub}](https://huggingface.co/datasets/{hub})" if hub else ""
    mended, rejected = values["mended"], values["rejected"]
    (folder / CARD).write_text(
        f"""---
{metadata.to_yaml()}
---

# {name}

Conversations{" about pictures" if values["images"] else ""}, as Parrot prepared them for training \
from {published or "files of its publisher"}, read as `{_form(source)}`. \
{f"Licence: {source.license}." if source.license else "Its publisher says under which licence."}

{" ".join(f"![]({picture})" for picture in pictures)}

| language | records |
|---|---|
{_table(records)}

{values["read"]} entries read = {values["kept"]} kept + {mended["total"]} mended (`mended.parquet`) \
+ {rejected["total"]} rejected (`rejects.parquet`) + {values["left_out"]} left out; \
{values["images"]} pictures.

| column | what it is |
|---|---|
| `id`, `source`, `language` | which record it is; `id` is the publisher's |
| `messages` | turns, each with `role` and `content`; `<image>` stands where a picture does |
| `images` | the pictures as they were published |
| `length` | UTF-8 bytes of all texts |
| `digest`, `picture_digests`, `looks` | by which equal records, equal and nearly equal pictures are found |

| shard | SHA-256 |
|---|---|
{_table({part.shard: f"`{file_digest(folder / part.shard)}`" for part in partitions})}
""",
        encoding="utf-8",
    )


def _form(source: Source) -> str:
    return source.format if isinstance(source.format, str) else "a format of its own"


def _table(rows: Mapping[str, Any]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _write_pictures(folder: Path, partitions: Sequence[Partition]) -> Iterator[str]:
    """The first different pictures, each as a file; yields their names."""
    seen: set[bytes] = set()
    for part in partitions:
        shard = open_shard(folder / part.shard)
        for group in range(len(shard.group_sizes)):
            for images in shard.read([group], ["images"])["images"].to_pylist():
                for image in images:
                    if image["bytes"] in seen:
                        continue
                    name = f"pictures/{len(seen)}.{image_header(image['bytes'])[2].lower()}"
                    seen.add(image["bytes"])
                    (folder / name).parent.mkdir(exist_ok=True)
                    (folder / name).write_bytes(image["bytes"])
                    yield name
                    if len(seen) == _PICTURES:
                        return
            if not seen:
                break  # of a source without pictures one row group of each shard tells it
