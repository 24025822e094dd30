"""A registry and a target in memory, with the signatures of the real ones."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from parrot.errors import Gone, ParrotError
from parrot.publishing.ledger import read_ledger
from parrot.publishing.release import EVALUATION

LEDGER = Path("published/ledger.jsonl")


class Killed(BaseException):
    """The process is killed here."""


@dataclass(frozen=True)
class Version:
    name: str
    version: str
    run_id: str
    commit: str
    weights: str


class Placed(NamedTuple):
    revision: str
    pull_request: str | None = None


@dataclass(frozen=True)
class Published:
    name: str
    version: str
    placed: Placed | None


@dataclass
class World:
    """What outlasts a process: MLflow's registry, and the place where models are published."""

    trained: str = "w1"
    """The weights of this checkout."""
    evaluations: dict[str, Path] = field(default_factory=dict)
    """Of these weights, as the registry keeps them."""
    registered: list[Version] = field(default_factory=list)
    made: int = 0
    aliases: dict[str, str] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    attached: dict[str, str] = field(default_factory=dict)
    published: dict[str, str] = field(default_factory=dict)
    """Version -> the paragraph on its card."""
    current: str | None = None
    pull_request: str | None = None
    """Which nobody has merged yet."""
    steps: list[str] = field(default_factory=list)
    dies_at: int | None = None
    """Before so many steps from now."""

    def step(self, name: str) -> None:
        if self.dies_at is not None:
            self.dies_at -= 1
            if self.dies_at < 0:
                raise Killed(name)
        self.steps.append(name)

    # parrot.tracking.registry

    def register(self, name: str, run_id: str | None = None) -> Version:
        self.step("register")
        for version in self.registered:
            if version.weights == self.trained:
                return version
        self.made += 1  # MLflow gives no number twice
        number = str(self.made)
        version = Version(name, number, f"run{number}", f"commit{number}", self.trained)
        self.registered.append(version)
        self.aliases["challenger"] = number
        return version

    def versions(self, name: str) -> list[Version]:
        return [version for version in self.registered if version.name == name]

    def champion(self, name: str) -> Version | None:
        number = self.aliases.get("champion")
        if number is None:
            return None
        for version in self.registered:
            if version.version == number:
                return version
        raise Gone(f"models:/{name}@champion: version {number} has been deleted")

    def promote(self, version: Version) -> None:
        self.step("promote")
        self.aliases["champion"] = version.version

    def tag(self, version: Version, key: str, value: str) -> None:
        self.step("tag")
        self.tags[version.version, key] = value

    def fetch_evaluation(self, version: Version, folder: Path) -> Path:
        if version.weights not in self.evaluations:
            raise Gone(f"run {version.run_id}: its files have been deleted")
        return self.evaluations[version.weights]

    # parrot.publishing.publish

    def target_of(self, params: Any) -> Any:
        return SimpleNamespace(name="place", current=lambda: self.current)

    def publish(self, package: Path, target: Any, *, version: str, paragraph: str = "") -> Published:
        self.step("publish")
        if self.pull_request:
            return Published("place", version, Placed("a commit", self.pull_request))
        self.published.setdefault(version, paragraph)
        if self.current == version:
            return Published("place", version, None)
        self.current = version
        self.step("published, and not told")
        return Published("place", version, Placed(f"revision of {version}"))

    def next_version(self, package: Path, target: Any) -> str:
        return str(len(self.published) + 1)

    def would_send(self, package: Path, target: Any, version: str) -> list[str]:
        return [f"place: version {version}, in place of {self.current or 'nothing'}"]

    def retag(self, target: Any, version: str) -> Published:
        self.step("retag")
        if version not in self.published:
            raise ParrotError(f"place: no version {version}")
        self.current = version
        return Published("place", version, Placed(f"revision of {version}"))

    # parrot.tracking.attachments

    def attach(self, run: str, file: Path, folder: str) -> None:
        self.step("attach")
        self.attached[f"{run}/{folder}/{file.name}"] = file.read_text(encoding="utf-8")


def train(world: World, weights: str) -> None:
    """`dvc repro` has made this model."""
    world.trained = weights
    EVALUATION.parent.mkdir(exist_ok=True)
    EVALUATION.unlink(missing_ok=True)
    EVALUATION.symlink_to(world.evaluations[weights])


def events() -> list[tuple[str, str]]:
    return [(entry["event"], entry["version"]) for entry in read_ledger(LEDGER)]
