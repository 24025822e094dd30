"""Records of the Parquet shards as batches of tensors."""

from collections.abc import Iterator
from typing import Any

from parrot.errors import ParrotError
from parrot.model.chat_text import IGNORE_INDEX
from parrot.model.processing_parrot import ParrotProcessor
from parrot.training.packing import pack
from parrot.training.watching import SEEN, SeenRecord


class ConversationCollator:
    """Rows of a `RecordDataset` -> `input_ids`, `attention_mask`, `labels` [batch, text], `pixel_values`.

    With `packing`, all records in one row: see `parrot.training.packing`.

    Labels are -100 outside the answers; head and loss are computed only where there is one. A
    record that cannot be encoded or is longer than `max_length` is an error that names it; the stage
    prepare leaves none.
    """

    def __init__(self, processor: ParrotProcessor, max_length: int, *, packing: bool = False) -> None:
        self._processor = processor
        self._packing = packing
        self._max_length = max_length

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return self._packed(self._encoded(rows))

    def _packed(self, batch: dict[str, Any]) -> dict[str, Any]:
        return pack(batch) if self._packing else batch

    def _encoded(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        try:
            batch: dict[str, Any] = self._processor.encode_conversations(
                [row["messages"] for row in rows],
                [row["images"] for row in rows],
                max_length=self._max_length,
            )
        except (ValueError, ParrotError) as error:
            if len(rows) > 1:
                for row in rows:
                    self._encoded([row])  # the one at fault is named
            names = ", ".join(f"{row['id']} of {row['source']}" for row in rows)
            raise ParrotError(f"record {names}: {error}; run the stage prepare again") from None
        return batch


class WatchedCollator(ConversationCollator):
    """As `ConversationCollator`, and what is watched of the records (`SEEN`) travels with their batch."""

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self._encoded(rows)
        seen = list(_seen(batch, rows))
        return {**self._packed(batch), SEEN: seen}


def _seen(batch: dict[str, Any], rows: list[dict[str, Any]]) -> Iterator[SeenRecord]:
    positions = batch["attention_mask"].sum(dim=1).tolist()
    labels = (batch["labels"][:, 1:] != IGNORE_INDEX).sum(dim=1).tolist()
    for row, taken, learned in zip(rows, positions, labels, strict=True):
        yield SeenRecord(
            row["id"], row["source"], row["language"], taken, labels=learned, images=len(row["images"])
        )
