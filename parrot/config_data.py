"""The part of the schema of `params.yaml` that says where data lie and how they are read."""

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from parrot.config_training import Count, Section

Split = Literal["align", "sft"]
"""The records of stage one and of stage two."""
EACH = "{language}"


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""A name, or several for the same."""


class Columns(Section):
    """Which fields of an entry hold what: `messages`, or `prompt` (or the format's `ask`) and `response`."""

    id: Names = ("id",)
    system: Names = ("system", "system_prompt")
    messages: Names = ()
    """A list of turns, each of which names in `role` who speaks, and in `content` what is said."""
    role: Names = ("from", "role")
    content: Names = ("value", "content")
    prompt: Names = ()
    """A question, or a list of as many as there are answers."""
    query: Names = ()
    """What follows the question on a line of its own; may be empty."""
    response: Names = ()
    images: Names = ("image", "images")
    """A name, a data URI, encoded bytes, or a list of them."""


class Format(Section):
    """How the entries of a file become conversations. docs/data.md shows each key at work."""

    columns: Columns = Columns()
    roles: dict[str, Literal["system", "user", "assistant"]] = Field(default={})
    """What speakers are called, beside human, user, gpt, assistant and system."""
    ask: Names = ()
    """Questions of entries that have none, such as captions; they take turns."""
    image: str | None = None
    """The picture's name, made of fields: `'{split}2017/{image_id:012d}.jpg'`."""
    entries: str | None = None
    """Under which key of a JSON object the list stands; `'*'`: each key is the id of an entry."""
    each: str | None = None
    """A list in an entry of which each item makes an entry of its own."""
    only: dict[str, list[Any]] = Field(default={})
    """Entries that say something else in these fields are left out, and counted."""
    reader: str | None = None
    """A module reads the file, …"""
    rewrite: str | None = None
    """… or makes of an entry one that the columns describe: `parrot/data/sources/odd.py`."""
    ignore: Names = ()

    @model_validator(mode="after")
    def _has_answers(self) -> Self:
        if bool(self.columns.messages) == bool(self.columns.response):
            raise ValueError("columns: either `messages` or `response` is needed, to know what is answered")
        if self.columns.response and not (self.columns.prompt or self.ask):
            raise ValueError("columns: `prompt` is needed beside `response`, or `ask`")
        return self

    @cached_property
    def read(self) -> frozenset[str]:
        """Fields of an entry that are read."""
        columns = self.columns.model_dump(exclude={"role", "content"}).values()
        of_image = (name for _, name, _, _ in Formatter().parse(self.image or "") if name)
        return frozenset({*chain.from_iterable(columns), *of_image, *self.only})

    @cached_property
    def read_of_turn(self) -> frozenset[str]:
        return frozenset({*self.columns.role, *self.columns.content})


def _name_or_own(value: Any) -> Any:
    if not isinstance(value, str | dict | Format):
        raise ValueError("the name of a known format or a description of one is expected")
    return value


class Origin(Section):
    """Where a file is published: `hub` with its `revision`, or `url`; where each language has a file of its
    own, with `{language}` in `file`, `url` or `member`."""

    hub: str | None = None
    """A data set of the Hub."""
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    """Its commit; without one the first fetch pins what is newest then."""
    file: str | None = None
    """The file's path in it, or a pattern of it, such as `data/*.parquet`."""
    url: Annotated[str, Field(pattern="^https?://")] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Of what is served; without one the first fetch pins it."""
    member: str | None = None
    """The file in an archive that is served."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.url) == bool(self.hub) or bool(self.hub) != bool(self.file):
            raise ValueError("either `hub` and `file`, or `url`")
        return self

    def of(self, language: str) -> Self:
        """Where the file of a language is published."""
        named = {key: getattr(self, key) for key in ("file", "url", "member")}
        return self.model_copy(
            update={key: text.replace(EACH, language) for key, text in named.items() if text}
        )


class Source(Section):
    """One data set as its publisher ships it."""

    split: Split
    format: Annotated[
        Annotated[str, Tag("name")] | Annotated[Format, Tag("Format")],
        Discriminator(lambda given: "name" if isinstance(given, str) else "Format"),
        BeforeValidator(_name_or_own),
    ]
    """One of parrot/data/sources/formats.yaml, or a description of one's own."""
    path: str
    """A file; or the folder of `files`."""
    files: str | None = None
    """In the folder: one for each language, with `{language}` in its name, or shards, such as `*.parquet`."""
    images: str
    """A folder, .zip or .tar (also .tar.gz) that holds the pictures, or a folder within an archive, as in
    `train2017.zip/train2017`; of a source without pictures, or with them in its files, its `path` again."""
    language: str = EACH
    """Of all its records; not given where each language has files of its own."""
    ignore: list[str] = Field(default=[])
    """Fields of an entry that may be lost: they are neither read nor a reason to refuse it."""
    expected: Count | None = None
    """Entries that it should have, to the last of them or rounded: a file that is not whole is noticed."""
    license: str | None = None
    """As the Hub names it, such as cc-by-4.0 or other, for the card of the data set."""
    origin: Origin | None = None
    """From where `parrot data get` fetches it, if parrot/catalog/facts.yaml does not know it."""

    @model_validator(mode="after")
    def _one_language_a_file(self) -> Self:
        if self.files is None and self.language == EACH:
            raise ValueError("language: missing; or name `files` with {language} in it, one a language")
        if self.files is not None and (EACH in self.files) != (self.language == EACH):
            raise ValueError(
                "files: is for a file a language, with {language} in its name and no `language`; or for the "
                "shards of one, with its `language`"
            )
        if self.language == EACH and self.origin and self.origin.of("") == self.origin:
            raise ValueError(
                "origin: would put one file under every language; name those of each with {language} in "
                "`file`, `url` or `member`"
            )
        return self

    def by_language(self, languages: Sequence[str]) -> dict[str, Path]:
        """Language -> file, or a pattern of files."""
        if self.language != EACH:
            return {self.language: Path(self.path, self.files or "")}
        return {name: Path(self.path, (self.files or "").replace(EACH, name)) for name in languages}
