"""Records of the Parquet shards as batches of tensors."""

from typing import Any

from parrot.errors import ParrotError
from parrot.model.processing_parrot import ParrotProcessor


class ConversationCollator:
    """Rows of a `RecordDataset` -> `input_ids`, `attention_mask`, `labels` [batch, text], `pixel_values`.

    Labels are -100 outside the answers; head and loss are computed only where there is one. A
    record longer than `max_length` is an error that names it: cutting it could cut into the
    positions of an image.
    """

    def __init__(self, processor: ParrotProcessor, max_length: int) -> None:
        self._processor = processor
        self._max_length = max_length

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        try:
            batch: dict[str, Any] = self._processor.encode_conversations(
                [row["messages"] for row in rows],
                [row["images"] for row in rows],
                max_length=self._max_length,
            )
        except ValueError as error:
            raise ParrotError(f"records {', '.join(row['id'] for row in rows)}: {error}") from None
        return batch
