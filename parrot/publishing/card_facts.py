"""What a model card tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parrot.config import HUB, Backbones, Evaluate, HubModel, Package, Source


@dataclass(frozen=True)
class ModelFacts:
    """What the model says of itself."""

    summary: str
    """ "the architecture of …"."""
    parameters: dict[str, int]
    """Part -> how many; a head that shares its weights with the embeddings is none of its own."""
    image_size: int
    """Pixels on a side of what it sees of a picture."""
    image_positions: int
    """That one picture takes in the text."""
    max_positions: int | None


@dataclass(frozen=True)
class CardFacts:
    """All that a card tells."""

    package: Package
    evaluate: Evaluate
    backbones: Backbones
    hub: Mapping[str, HubModel]
    sources: Mapping[str, Source]
    languages: Sequence[str]
    model: ModelFacts
    scores: Mapping[str, Any]
    """As `metrics/evaluate.json`."""
    mixtures: Mapping[str, Mapping[str, Any]]
    """Split -> as `metrics/mix/SPLIT.json`."""
    trainings: Mapping[str, Mapping[str, Any]]
    """Split -> as `metrics/align.json` and `metrics/sft.json`."""
    trained: Mapping[str, Any]
    """See `parrot.provenance`; empty if that is not known."""
    example: Mapping[str, str]
    """Question and answer about the picture."""
    questions: Sequence[str]
    """About the same picture, in several languages."""

    def made_from(self) -> list[tuple[str, HubModel | Path]]:
        """Part -> the backbone that it began as: downloaded, or a folder."""
        return [
            (part, self.hub[Path(folder).name] if folder.startswith(f"{HUB}/") else Path(folder))
            for part, folder in (
                ("vision tower", self.backbones.vision),
                ("language model", self.backbones.language),
            )
        ]
