"""Reading `params.yaml`: an unknown key, a value of the wrong type or out of range names file and key."""

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from parrot.config import Params, Section
from parrot.credentials import holds_secret
from parrot.errors import ParrotError
from parrot.yaml_files import read_yaml

PARAMS_FILE = Path("params.yaml")

Key = tuple[str | int, ...]
Schema = TypeVar("Schema", bound=Section)


def read_params_tree(path: Path | str = PARAMS_FILE) -> dict[str, Any]:
    """`params.yaml` as it is written, once the schema has accepted it.

    Raises:
        ParrotError: as for `load_params`.
    """
    return _read_checked(Path(path), Params)[0]


def load_params(path: Path | str = PARAMS_FILE) -> Params:
    """Read and check `params.yaml`.

    Raises:
        ParrotError: the file is missing, is not YAML, or a key is unknown, missing or mistyped.
    """
    return load_sections(path, Params)


def load_sections(path: Path | str, schema: type[Schema]) -> Schema:
    """Read and check a file of parameters that has a schema of its own, as an example's has.

    Raises:
        ParrotError: as for `load_params`.
    """
    return _read_checked(Path(path), schema)[1]


def check_tree(tree: dict[str, Any], schema: type[Schema], file_of: Callable[[Key], Path]) -> Schema:
    """The sections of `tree`; `file_of` says which file a key comes from.

    Raises:
        ParrotError: a line for each key that is unknown, missing or mistyped, or holds a secret.
    """
    try:
        checked = schema.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(item, tree, schema, file_of) for item in error.errors()]
        raise ParrotError("\n".join(lines)) from None
    if open_secrets := [key for key, text in _texts(tree) if holds_secret(text)]:
        lines = [
            f"{file_of(key)}: {'.'.join(map(str, key))}: holds a password or token, which git and dvc.lock "
            f"would keep; take it out, and fetch by hand what it opens"
            for key in open_secrets
        ]
        raise ParrotError("\n".join(lines))
    return checked


def _texts(value: Any, key: Key = ()) -> Iterator[tuple[Key, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(item, (*key, name))


def _read_checked(path: Path, schema: type[Schema]) -> tuple[dict[str, Any], Schema]:
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise ParrotError(f"{path}: expected sections such as 'sft:', found {type(tree).__name__}")
    return tree, check_tree(tree, schema, lambda key: path)


def _explain(item: Any, tree: dict[str, Any], schema: type[Section], file_of: Callable[[Key], Path]) -> str:
    """One pydantic error as `file: key: what is wrong`."""
    key = _as_written(item["loc"], tree)
    message = item["msg"].removeprefix("Value error, ")
    given = item["input"]
    if item["type"].startswith("union_tag"):  # the key that says which kind of section it is
        key = (*key, item["ctx"]["discriminator"].strip("'"))
        given = item["ctx"].get("tag")
        message = f"Input should be {' or '.join(item['ctx'].get('expected_tags', '').split(', '))}"
    where = ": ".join(filter(None, (str(file_of(key)), ".".join(map(str, key)))))
    if item["type"] == "extra_forbidden":
        known = _known_keys(schema, item["loc"][:-1])
        close = difflib.get_close_matches(str(key[-1]), known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else f"; known here: {', '.join(known)}"
        return f"{where}: unknown key{hint}"
    if item["type"] in ("missing", "union_tag_not_found"):
        return f"{where}: missing"
    shown = f" (found {given!r})" if isinstance(given, str | int | float | bool | None) else ""
    return f"{where}: {message}{shown}"


def _as_written(location: Key, tree: Any) -> Key:
    """pydantic's location without what it says of kinds: `model.parrot.projector` is written in `model`."""
    key = []
    for place, part in enumerate(location):
        there = part in tree if isinstance(tree, dict) else isinstance(tree, list) and isinstance(part, int)
        if there or place == len(location) - 1:
            key.append(part)
            tree = tree[part] if there else None
    return tuple(key)


def _known_keys(schema: type[Section], location: Key) -> list[str]:
    """The keys that the section at pydantic's `location` has."""
    kinds: list[Any] = [schema]
    for part in location:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    return [str(key) for kind in kinds if hasattr(kind, "model_fields") for key in section_fields(kind)]


def _inside(kind: Any, part: str | int) -> Iterator[Any]:
    """What `part` may lead to in a section, in a mapping from names of one's own, or among several kinds."""
    if get_origin(kind) is dict:
        yield from _kinds(get_args(kind)[1])
    elif hasattr(kind, "model_fields"):
        if part in (fields := section_fields(kind)):
            yield from _kinds(fields[part])
        elif part == kind.__name__ or any(part in get_args(annotation) for annotation in fields.values()):
            yield kind


def section_fields(section: type[BaseModel]) -> dict[str | int, Any]:
    return {field.alias or name: field.annotation for name, field in section.model_fields.items()}


def _kinds(annotation: Any) -> Iterator[Any]:
    """The sections and mappings in an annotation such as `Section | None` or `Annotated[A | B, …]`."""
    if get_origin(annotation) is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        yield annotation
    else:
        for inner in get_args(annotation):
            yield from _kinds(inner)
