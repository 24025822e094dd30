"""Records of the Parquet shards as batches of tensors."""

from collections.abc import Iterator, Sequence
from typing import Any

from parrot.errors import ParrotError
from parrot.model.chat_text import IGNORE_INDEX
from parrot.model.image_inputs import checked_image
from parrot.model.places import flat_places, next_labels, places_of
from parrot.model.processing_parrot import ParrotProcessor
from parrot.training.packing import pack
from parrot.training.watching import SEEN, SeenRecord

BROKEN = "broken"
"""In a row that cannot be read: why."""
_NOTHING_LEARNED = ({"role": "user", "content": "."},)
"""What a batch has in the place of a broken record: it keeps its number of samples, on every rank."""


class ReadableRecords:
    """A `RecordDataset` in which a record that has been damaged since its check is `BROKEN`, and no error."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, number: int) -> dict[str, Any]:
        try:
            row: dict[str, Any] = self._dataset[number]
            return row
        except ParrotError as error:
            return {**self._dataset.named(number), "messages": [], "images": [], BROKEN: str(error)}


class ConversationCollator:
    """Rows of a `RecordDataset` -> `input_ids`, `attention_mask`, `labels` [batch, text], `pixel_values`, and
    the `places` of what is in them.

    With `packing`, all records in one row: see `parrot.training.packing`.

    Labels are -100 outside the answers; head and loss are computed only where there is one. Of a record with
    a picture that cannot be decoded nothing is learned: a few tokens without a label take its place. One that
    cannot be encoded or is longer than `max_length` is an error that names it; the stage prepare leaves none.
    """

    def __init__(self, processor: ParrotProcessor, max_length: int, *, packing: bool = False) -> None:
        self._processor = processor
        self._packing = packing
        self._max_length = max_length

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return self._placed(self._encoded(self._opened(rows)))

    def _placed(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Packed, if it is to be, and with the places of what is in it."""
        batch = dict(pack(batch) if self._packing else batch)
        labels = batch["labels"]
        places = places_of(
            batch["input_ids"],
            self._processor.image_token_id,
            self._processor.image_seq_length,
            len(batch["pixel_values"]),
            attention_mask=batch.get("attention_mask"),
            position_ids=batch.get("position_ids"),
            prompt_mask=labels == IGNORE_INDEX,
        )
        places["supervised"] = flat_places(next_labels(labels) != IGNORE_INDEX)
        return {**batch, "places": places}

    def _opened(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows with their pictures decoded, and what is broken replaced."""
        return [self._with_pictures(row) for row in rows]

    def _with_pictures(self, row: dict[str, Any]) -> dict[str, Any]:
        broken = row.get(BROKEN)
        pictures = []
        for place, encoded in enumerate(row["images"]):
            try:
                pictures.append(checked_image(encoded, f"image {place}", self._processor.background))
            except ValueError as error:
                broken = str(error)
        if broken:
            return {**row, "messages": _NOTHING_LEARNED, "images": [], BROKEN: broken}
        return {**row, "images": pictures}

    def _encoded(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
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
        opened = self._opened(rows)
        batch = self._encoded(opened)
        seen = list(_seen(batch, opened))
        return {**self._placed(batch), SEEN: seen}


def _seen(batch: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Iterator[SeenRecord]:
    positions = batch["attention_mask"].sum(dim=1).tolist()
    labels = (batch["labels"][:, 1:] != IGNORE_INDEX).sum(dim=1).tolist()
    for row, taken, learned in zip(rows, positions, labels, strict=True):
        yield SeenRecord(
            row["id"], row["source"], row["language"], taken, labels=learned, images=len(row["images"]),
            broken=row.get(BROKEN),
        )  # fmt: skip
