"""What is watched of a training between two logged steps, and what stops it. docs/training.md says more.

Nothing here makes the host wait for an accelerator but `check`, which is called at logged and saved steps.
"""

import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor

from parrot.errors import ParrotError
from parrot.training.distributed import from_all
from parrot.training.history import Metrics

SEEN = "seen"
"""In a batch: its records as `SeenRecord`, in the order of their images. The model is not given it."""
EXPLODED, MARGIN = 3.0, 1.0
"""A loss has exploded that is above `EXPLODED` times the smoothed one before it, and `MARGIN` nats …"""
IN_SUCCESSION, ROWS_BEFORE = 2, 5
"""… so many times in succession; and when the warm-up is over and so many losses were logged before."""
PEAK_TFLOPS = {
    "B200": 2250, "H200 NVL": 835, "H200": 989, "H100 NVL": 835, "H100 PCIe": 756, "H100": 989, "A100": 312,
    "L40S": 362, "L4": 121,
}  # fmt: skip
"""Part of an accelerator's name -> 10¹² dense bfloat16 operations a second, by NVIDIA's data sheets; the
first that fits counts."""
_NAMED = 32
"""So many records are named at most."""
MOST_BROKEN, BROKEN_BY_CHANCE = 0.1, 10
"""Where a larger share of the samples than this and more of them than these cannot be read, it is not one
picture that broke: the training ends."""


@dataclass(frozen=True)
class SeenRecord:
    """What is known of a record in a batch."""

    id: str
    source: str
    language: str
    positions: int
    """In the language model, images included and padding not."""
    labels: int
    """Positions that are learned."""
    images: int
    broken: str | None = None
    """Why it cannot be read; nothing is learned of it then."""

    def __str__(self) -> str:
        return f"{self.id} of {self.source}"


@dataclass(frozen=True)
class _Pass:
    """A batch of one rank, forward and backward."""

    step: int
    loss: float
    records: Sequence[SeenRecord]


class Watch:
    """Counts and times on each rank; `check`, `explosion` and `metrics` must be called by all ranks.

    Args:
        name: of the training, for errors.
        operations: of a record's forward and backward pass; without it there is no MFU.
    """

    def __init__(self, name: str, operations: Callable[[SeenRecord], float] | None = None) -> None:
        self._name = name
        self._operations = operations
        self._unread: list[tuple[int, Tensor, Sequence[SeenRecord]]] = []
        self._passes: list[_Pass] = []
        self._routing: list[tuple[Tensor, list[str]]] = []
        self._waited = self._busy = 0.0
        self._begun: float | None = None
        self._suspects: list[str] = []
        self._bound = math.inf
        self._taken = Counter[bool]()
        self._broken: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        """Records of which nothing is learned, and why: of all ranks, since this start, as last shared."""

    def waiting(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches; the time until each comes counts as waiting for data."""
        self._begun = self._begun or time.perf_counter()
        while True:
            asked = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self._waited += time.perf_counter() - asked
            yield batch

    def took(self, step: int, loss: Tensor, records: Sequence[SeenRecord]) -> None:
        """A pass of this step is done: its share of the step's loss, which is not read yet."""
        self._unread.append((step, loss.detach(), records))
        self.look(records)
        self._taken.update(record.broken is not None for record in records)

    def look(self, records: Sequence[SeenRecord]) -> None:
        """Note which of them are broken."""
        self._broken |= {str(record): record.broken for record in records if record.broken}

    def share_left_out(self) -> None:
        """Bring `left_out` up to date; all ranks must call it.

        Raises:
            ParrotError: so many records cannot be read that something else is wrong.
        """
        ranks = from_all((self._taken, self._broken))
        taken = sum((counted for counted, _ in ranks), Counter[bool]())
        for _, broken in ranks:
            self.left_out |= broken
        if taken[True] > max(BROKEN_BY_CHANCE, MOST_BROKEN * taken.total()):
            name, why = next(iter(self.left_out.items()))
            raise ParrotError(
                f"{self._name}: {taken[True]} of {taken.total()} samples cannot be read, such as {name}: "
                f"{why}; run the stage prepare again"
            )

    def routed(self, weights: Tensor, records: Sequence[SeenRecord]) -> None:
        """The experts' weights [N, E] of the records' images; they stay on their device for now."""
        self._routing.append((weights.detach(), [one.language for one in records for _ in range(one.images)]))

    def end_step(self) -> None:
        """A step is over; what comes before the next asks for its batches is part of none."""
        if self._begun is not None:
            self._busy += time.perf_counter() - self._begun
        self._begun = None

    def check(self) -> None:
        """Read the losses since the last check.

        Raises:
            ParrotError: one is no finite number; names the records of its batch.
        """
        if self._unread:
            steps, losses, records = zip(*self._unread, strict=True)
            read = torch.stack(losses).tolist()
            self._passes += [_Pass(*one) for one in zip(steps, read, records, strict=True)]
            self._unread.clear()
        broken = next((one for one in self._passes if not math.isfinite(one.loss)), None)
        found = [one for one in from_all(broken) if one is not None]
        if found:
            first = min(found, key=lambda one: one.step)
            raise ParrotError(
                f"{self._name}: the loss is {first.loss} at step {first.step}; lower the learning rate of "
                f"this stage in params.yaml{_records(first)}"
            )

    def explosion(self, step: int, loss: float, smoothed_before: float) -> None:
        """Look at a logged loss, once the warm-up is over.

        Raises:
            ParrotError: it has exploded; names the records of the worst batch.
        """
        if not self._suspects:
            self._bound = EXPLODED * smoothed_before + MARGIN
        if loss <= self._bound:
            self._suspects.clear()
            return
        worst = max(self._passes, key=lambda one: one.loss, default=None)
        found = [one for one in from_all(worst) if one is not None]
        worst = max(found, key=lambda one: one.loss, default=None)
        self._suspects.append(f"; the worst batch was at step {worst.step}{_records(worst)}" if worst else "")
        if len(self._suspects) == IN_SUCCESSION:
            raise ParrotError(
                f"{self._name}: the loss has exploded: {loss:.3g} at step {step}, above {self._bound:.3g}; "
                f"lower the learning rate of this stage in params.yaml{self._suspects[0]}"
            )

    def metrics(self) -> Metrics:
        """Of all ranks since the last call, as the table in docs/training.md names them.

        Raises:
            ParrotError: as `share_left_out`.
        """
        self.share_left_out()
        seen = [record for one in self._passes for record in one.records]
        ranks = from_all(
            {
                "positions": sum(record.positions for record in seen),
                "operations": sum(map(self._operations, seen)) if self._operations else None,
                "waited": self._waited,
                "seconds": self._busy,
                "memory": memory_bytes(),
                "routing": _sums(self._routing),
            }
        )
        seconds = max(rank["seconds"] for rank in ranks)
        self._passes.clear()
        self._routing.clear()
        self._waited = self._busy = 0.0
        found: Metrics = {"memory_gib": max(rank["memory"] for rank in ranks) / 2**30}
        found |= _means([rank["routing"] for rank in ranks])
        if self.left_out:
            found["left_out"] = len(self.left_out)
        if not seconds:
            return found
        found["data_wait"] = sum(rank["waited"] for rank in ranks) / (seconds * len(ranks))
        if seen:
            found["tokens_per_second"] = sum(rank["positions"] for rank in ranks) / seconds
        peak = peak_operations(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
        if peak and self._operations:
            found["mfu"] = sum(rank["operations"] for rank in ranks) / (seconds * len(ranks) * peak)
        return found


def peak_operations(device: str) -> float | None:
    """Dense bfloat16 operations a second of an accelerator of this name; None where that is not known."""
    known = (tflops for name, tflops in PEAK_TFLOPS.items() if re.search(rf"\b{name}\b", device))
    tflops = next(known, None)
    return tflops * 1e12 if tflops else None


def memory_bytes() -> int:
    """The most that was allocated on this process' accelerator; without one, what it has in memory now."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return int(psutil.Process().memory_info().rss)


def _records(one: _Pass) -> str:
    if not one.records:
        return ""
    names = [str(record) for record in one.records]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f", or look at the records of its batch: {', '.join(names[:_NAMED])}{more}"


def _sums(routing: Sequence[tuple[Tensor, list[str]]]) -> dict[str, list[float]]:
    """Language -> images, the sum of their entropies, and the sums of each expert's weights."""
    sums: dict[str, list[float]] = {}
    if not routing:
        return sums
    weights = torch.cat([tensor for tensor, _ in routing]).double().cpu()  # [N, E]
    entropies = torch.special.entr(weights).sum(dim=-1, keepdim=True)
    rows: dict[str, list[int]] = defaultdict(list)
    for row, language in enumerate(language for _, languages in routing for language in languages):
        rows[language].append(row)
    every = torch.cat([torch.ones_like(entropies), entropies, weights], dim=-1)
    return {language: every[places].sum(dim=0).tolist() for language, places in sorted(rows.items())}


def _means(ranks: Sequence[dict[str, list[float]]]) -> Metrics:
    """Mean entropy (nats) and mean weight of each expert, by language."""
    found: Metrics = {}
    for language in sorted({language for rank in ranks for language in rank}):
        of_ranks = [rank[language] for rank in ranks if language in rank]
        images, entropy, *loads = map(sum, zip(*of_ranks, strict=True))
        found[f"router_entropy/{language}"] = entropy / images
        found |= {f"expert_load/{language}.{number}": load / images for number, load in enumerate(loads)}
    return found
