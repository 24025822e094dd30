"""What sums up a split, added up frame by frame, so that memory does not grow with the records."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from parrot.data.accounting import Account
from parrot.errors import ParrotError
from parrot.validation.expectations import share_of


class Totals:
    """Sums over the frames of `as_frame`; shares are of what training sees, copies counted."""

    def __init__(self) -> None:
        self.records = 0
        self.duplicates = 0
        """How often training sees a record that repeats an earlier one; to be told by `Repeated`."""
        self.shards: set[str] = set()
        self._samples = self._text_only = self._text_bytes = self._turns = 0
        self._languages: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._source_samples: Counter[str] = Counter()

    def add(self, frame: pd.DataFrame) -> None:
        copies = frame["copies"]
        self.records += len(frame)
        self.shards.update(frame["shard"].unique())
        self._samples += int(copies.sum())
        self._text_only += int(copies[frame["images"] == 0].sum())
        self._text_bytes += int(frame["text_bytes"].sum())
        self._turns += int(frame["turns"].sum())
        for name, count in copies.groupby(frame["language"]).sum().items():
            self._languages[str(name)] += int(count)
        for name, count in frame["source"].value_counts().items():
            self._sources[str(name)] += int(count)
        for name, count in copies.groupby(frame["source"]).sum().items():
            self._source_samples[str(name)] += int(count)

    def check(self, accounts: Mapping[str, Account], mixture: Path) -> None:
        """See that of each source the mixture has as many records as its account says.

        Raises:
            ParrotError: names the source.
        """
        for name in sorted(accounts.keys() | self._sources.keys()):
            used = accounts[name].used if name in accounts else 0
            if used != self._sources[name]:
                raise ParrotError(
                    f"{mixture}: {name}: {self._sources[name]} records, its balance says {used}; run the "
                    f"stage mix again"
                )

    def summary(self, languages: Sequence[str]) -> dict[str, float]:
        """The row on which there are expectations."""
        shares = {share_of(language): self._share(self._languages[language]) for language in languages}
        text_only, duplicate = self._share(self._text_only), self._share(self.duplicates)
        return {"records": self.records, **shares, "text_only_share": text_only, "duplicate_share": duplicate}

    def metrics(self) -> dict[str, Any]:
        """Rounded, so that runs compare."""
        return {
            "records": self.records,
            "language_share": self._shares(self._languages),
            "source_share": self._shares(self._source_samples),
            "text_only_share": round(self._share(self._text_only), 4),
            "duplicate_share": round(self._share(self.duplicates), 4),
            "mean_text_bytes": round(self._text_bytes / self.records, 1),
            "mean_turns": round(self._turns / self.records, 2),
        }

    def _shares(self, counts: Counter[str]) -> dict[str, float]:
        return {name: round(self._share(count), 4) for name, count in sorted(counts.items())}

    def _share(self, count: int) -> float:
        return count / self._samples if self._samples else 0.0
