"""Benchmarks as configuration: `benchmarks.yaml` says which files make up a suite, and how it is scored."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from parrot.config import Section
from parrot.errors import ParrotError
from parrot.files import file_digest

BENCHMARKS_FILE = Path(__file__).with_name("benchmarks.yaml")
VLMEVALKIT_CIRCULAR = ("mmbench", "ccbench", "circular", "mmcr")
"""VLMEvalKit scores by groups of rotations where a data set's name, in lower case, holds one of these."""

Pattern = Annotated[str, StringConstraints(pattern=r"\{language\}")]
Md5 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]


class Suite(Section):
    """The files of one benchmark, one for each language."""

    file: Pattern
    dataset: Pattern
    circular: bool
    languages: list[str] = Field(min_length=1)
    md5: dict[str, Md5] = Field(default_factory=dict)
    """Language -> hash of the published file."""

    @model_validator(mode="after")
    def _languages_known(self) -> Self:
        if unknown := set(self.md5) - set(self.languages):
            raise ValueError(f"md5 names {', '.join(sorted(unknown))}, which is not in languages")
        return self

    def named(self, pattern: str) -> dict[str, str]:
        """Language -> `pattern` (`file` or `dataset`) with the language in its place."""
        return {language: pattern.replace("{language}", language) for language in self.languages}


@dataclass(frozen=True)
class BenchmarkFile:
    """A TSV, and what its suite says about it."""

    path: Path
    suite: str
    language: str
    dataset: str
    circular: bool
    md5: str | None

    @classmethod
    def of(cls, path: Path, language: str, *, circular: bool) -> Self:
        """A file under the suite, and the code of `language`, that its name holds: cn for zh."""
        suite, _, code = path.stem.rpartition("_") if "_" in path.stem else (path.stem, "", language)
        return cls(path, suite, code, path.stem, circular, _published_md5().get(path.name))

    @cached_property
    def published(self) -> bool | None:
        """Whether it has the bytes of the published file of its name; None where those are not known."""
        return None if self.md5 is None else file_digest(self.path, "md5") == self.md5

    @property
    def vlmevalkit_name(self) -> str:
        """Its name as a data set of one's own in VLMEvalKit.

        VLMEvalKit downloads files of official names anew, scores by rotations or not after what the name
        holds, and takes the language of the prompt from its last three characters.

        Raises:
            ParrotError: the suite is plain, but called such that it would be scored by rotations.
        """
        name = f"Parrot_{'Circular_' if self.circular else ''}{self.suite}_{self.language}"
        words = [word for word in VLMEVALKIT_CIRCULAR if word in name.lower()]
        if words and not self.circular:
            raise ParrotError(
                f"{self.path}: VLMEvalKit would take {name} for circular because of '{words[0]}'; "
                f"rename the file, or its suite"
            )
        return name


@cache
def _published_md5() -> dict[str, str]:
    """Name of a published file -> its hash."""
    return {
        name: suite.md5[code]
        for suite in load_suites().values()
        for code, name in suite.named(suite.file).items()
        if code in suite.md5
    }


def load_suites(path: Path = BENCHMARKS_FILE) -> dict[str, Suite]:
    """Every suite by name.

    Raises:
        ParrotError: the file is missing, is not YAML, or a suite is not as `benchmarks.yaml` explains.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        suites = TypeAdapter(dict[str, Suite]).validate_python(tree)
    except OSError as error:
        raise ParrotError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParrotError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise ParrotError(
            f"{path}: {key}: {problem['msg']}; {BENCHMARKS_FILE.name} explains the keys"
        ) from None
    names = [name for suite in suites.values() for name in suite.named(suite.file).values()]
    for name in names:
        if names.count(name) > 1:
            raise ParrotError(f"{path}: the file name {name} belongs to two entries; give one another name")
    return suites


def find_files(folder: Path, suites: dict[str, Suite]) -> list[BenchmarkFile]:
    """The suites' files that are in `folder`, by suite and language.

    Raises:
        ParrotError: there is none, or a TSV that no suite names.
    """
    if not folder.is_dir():
        raise ParrotError(f"{folder}: no folder; name the one that holds the benchmarks' TSVs")
    known = {}
    for title, suite in suites.items():
        datasets = suite.named(suite.dataset)
        for language, name in suite.named(suite.file).items():
            known[name] = BenchmarkFile(
                folder / name, title, language, datasets[language], suite.circular, suite.md5.get(language)
            )
    for path in sorted(folder.glob("*.tsv")):
        if path.name not in known:
            raise ParrotError(
                f"{path}: no suite names this file; add its suite or language to a copy of "
                f"{BENCHMARKS_FILE} and pass that with --benchmarks, or move the file away"
            )
    found = [file for file in known.values() if file.path.is_file()]
    if not found:
        example = next(iter(known), "mmmb_en.tsv")
        raise ParrotError(f"{folder}: holds no benchmark; expected files such as {example}")
    return found
