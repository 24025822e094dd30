"""What is probably wrong with single records: each is listed, and shares of a split are limited."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from parrot.config import Images, Validate
from parrot.data.accounting import Account
from parrot.validation.contract import FAILURE_COLUMNS
from parrot.validation.languages import other_language
from parrot.validation.near_duplicates import BANDS, NearDuplicates, look_keys
from parrot.validation.repeated import index_rows

NEAR_DUPLICATES, NEAR_PICTURES = "near_duplicate_share", "near_picture_share"


def other_language_share(source: str) -> str:
    """The column of a source."""
    return f"{source}_other_language_share"


class Doubts:
    """Looks for what `limits` limit, in the frames of `as_frame`; closes its files at the block's end.

    Args:
        accounts: how many records each source has, of which `language_sample` are drawn evenly.
    """

    def __init__(self, limits: Validate, images: Images, accounts: Mapping[str, Account]) -> None:
        bits = images.near_bits
        languages = limits.max_other_language_share is not None
        self._steps = {
            name: max(1, -(-account.used // limits.language_sample))
            for name, account in accounts.items()
            if languages
        }
        self._texts = NearDuplicates(bits or 0) if limits.max_near_duplicate_share is not None else None
        looked_for = limits.max_near_picture_share is not None and bits is not None
        self._pictures = NearDuplicates(bits or 0) if looked_for else None
        self._records = 0
        self._passed: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._others: Counter[str] = Counter()

    def __enter__(self) -> "Doubts":
        return self

    def __exit__(self, *error: object) -> None:
        for search in (self._texts, self._pictures):
            if search:
                search.close()

    def add(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Look through a frame; returns the texts in other languages, as rows of `FAILURE_COLUMNS`."""
        numbers = range(self._records, self._records + len(frame))
        self._records += len(frame)
        if self._texts:
            long = [place for place, keys in enumerate(frame["near_keys"]) if keys]
            keys = np.frombuffer(b"".join(frame["near_keys"][long]), np.uint64).reshape(-1, BANDS)
            chosen = [numbers[place] for place in long]
            abouts = list(map(_about, frame["looks"][long], frame["picture_digests"][long]))
            self._texts.add(chosen, keys, [number.to_bytes(8, "little") for number in chosen], abouts)
        if self._pictures and (looks := [look for some in frame["looks"] for look in some]):
            digests = [digest for some in frame["picture_digests"] for digest in some]
            owners = [number for number, some in zip(numbers, frame["looks"], strict=True) for _ in some]
            self._pictures.add(owners, look_keys(looks), digests, looks)
        return pd.DataFrame(self._in_other_languages(frame), columns=FAILURE_COLUMNS)

    def near(self, mixture: Path) -> pd.DataFrame:
        """The near duplicates, as rows of `FAILURE_COLUMNS`; called once, when all frames are added."""
        found = [
            (later, earlier, field)
            for search, field in ((self._texts, "messages"), (self._pictures, "images"))
            if search
            for later, earlier in search.pairs()
        ]
        numbers = sorted({number for pair in found for number in pair[:2]})
        table = index_rows(mixture, np.array(numbers, np.int64), ("shard", "source", "id"))
        names = dict(zip(numbers, map(tuple, zip(*table.to_pydict().values(), strict=True)), strict=True))
        rows = [
            (*names[later], field, "nearly repeats an earlier record", " ".join(names[earlier][1:]))
            for later, earlier, field in found
        ]
        return pd.DataFrame(rows, columns=FAILURE_COLUMNS)

    def summary(self) -> dict[str, float]:
        """Column -> share, of what was looked for; known once `near` was called."""
        searches = ((NEAR_DUPLICATES, self._texts), (NEAR_PICTURES, self._pictures))
        near = {name: search.count / self._records for name, search in searches if search}
        others = {
            other_language_share(name): self._others[name] / self._asked[name]
            for name in self._steps
            if self._asked[name]
        }
        return near | others

    def _in_other_languages(self, frame: pd.DataFrame) -> Iterator[tuple[str, ...]]:
        if not self._steps:
            return
        columns = ("shard", "source", "id", "language", "longest_text")
        for shard, source, name, language, text in zip(*(frame[column] for column in columns), strict=True):
            self._passed[source] += 1
            if source not in self._steps or self._passed[source] % self._steps[source]:
                continue
            self._asked[source] += 1
            if found := other_language(text, language):
                self._others[source] += 1
                yield shard, source, name, "messages", f"should be in {language}", f"{found}: {text[:80]}"


def _about(looks: Sequence[bytes], digests: Sequence[bytes]) -> bytes:
    """What a text is about: its first picture, as it looks, or its digest; nothing without one."""
    return next(iter(looks or digests), b"")
