"""What a profile's sources need: which of it is there, and what is known of the rest."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from parrot.catalog.facts import Fact, fact_of, origin_of
from parrot.config import Source
from parrot.config_data import Origin
from parrot.errors import ParrotError
from parrot.params import load_params
from parrot.profiles import params_of

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")


class Missing(NamedTuple):
    path: Path
    """Where it belongs."""
    origin: Origin | None
    """Where it comes from; None if nothing serves it."""
    is_folder: bool = False


@dataclass(frozen=True)
class Need:
    """A source of a profile."""

    name: str
    source: Source
    languages: tuple[str, ...]

    @property
    def fact(self) -> Fact | None:
        return fact_of(self.source)

    @property
    def pictures(self) -> Origin | None:
        return self.fact.pictures if self.fact and not self.source.origin else None

    def missing(self) -> Iterator[Missing]:
        source = self.source
        origin = origin_of(source)
        for language, path in source.by_language(self.languages).items():
            if not any(path.parent.glob(path.name)):
                is_pattern = "*" in path.name
                yield Missing(path.parent if is_pattern else path, origin and origin.of(language), is_pattern)
        images = Path(source.images)
        archive = next((place for place in (images, *images.parents) if place.suffix in _ARCHIVES), None)
        if source.images != source.path and not (archive or images).exists():
            # A folder's pictures are unpacked, which is left to people.
            yield Missing(archive or images, self.pictures if archive else None)


def needs_of(profile: str | None) -> list[Need]:
    """The sources of a profile, or of params.yaml.

    Raises:
        ParrotError: there is no such profile, or it is not valid.
    """
    params = load_params() if profile is None else params_of(profile)
    return [Need(name, source, tuple(params.languages)) for name, source in params.sources.items()]


def chosen(needs: list[Need], names: list[str]) -> list[Need]:
    """Those of the names, or all.

    Raises:
        ParrotError: there is no such source.
    """
    known = {need.name: need for need in needs}
    for name in names:
        if name not in known:
            raise ParrotError(f"no source '{name}'; there are {', '.join(known)}")
    return [known[name] for name in names] or needs


def describe(need: Need) -> Iterator[str]:
    """Lines for a person."""
    missing = list(need.missing())
    count = f"{need.source.expected:,} entries" if need.source.expected else "entries not counted"
    yield f"{need.name} ({need.source.split}, {count}): {'missing' if missing else 'there'}"
    fact = need.fact
    if fact:
        yield f"  {fact.about}; size: {fact.size}; license: {fact.license}"
        if fact.unconfirmed:
            yield f"  unconfirmed: {', '.join(fact.unconfirmed)}"
    for path, origin, _ in missing:
        if origin:
            yield f"  {path}: `parrot data get {need.name}` fetches it from {_version(origin)}"
    if by_hand := ", ".join(str(path) for path, origin, _ in missing if not origin):
        if fact:
            yield f"  {by_hand}: by hand from {fact.page}{': ' + fact.by_hand if fact.by_hand else ''}"
        else:
            yield f"  {by_hand}: put it there as its publisher ships it"


def _version(origin: Origin) -> str:
    if origin.revision or origin.sha256:
        return f"{origin.url or origin.hub} at {origin.revision or origin.sha256}"
    return f"{origin.url or origin.hub}: what is newest, and from then on the same"
