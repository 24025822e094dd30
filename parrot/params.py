"""Reading `params.yaml`: an unknown key, a value of the wrong type or out of range names file and key."""

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from parrot.config import Params, Section
from parrot.errors import ParrotError
from parrot.yaml_files import read_yaml

PARAMS_FILE = Path("params.yaml")

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


def _read_checked(path: Path, schema: type[Schema]) -> tuple[dict[str, Any], Schema]:
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise ParrotError(f"{path}: expected sections such as 'sft:', found {type(tree).__name__}")
    try:
        return tree, schema.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(path, item, schema) for item in error.errors()]
        raise ParrotError("\n".join(lines)) from None


def _explain(path: Path, item: Any, schema: type[Section]) -> str:
    """One pydantic error as `file: key: what is wrong`."""
    location = item["loc"]
    key = ".".join(str(part) for part in location)
    if item["type"] == "extra_forbidden":
        known = _known_keys(schema, location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else f"; known here: {', '.join(known)}"
        return f"{path}: {key}: unknown key{hint}"
    if item["type"] == "missing":
        return f"{path}: {key}: missing"
    message = item["msg"].removeprefix("Value error, ")
    given = item["input"]
    shown = f" (found {given!r})" if isinstance(given, str | int | float | bool | None) else ""
    return f"{path}: {key}: {message}{shown}" if key else f"{path}: {message}"


def _known_keys(schema: type[Section], location: tuple[str | int, ...]) -> list[str]:
    """The keys that the section at `location` has."""
    section: Any = schema
    for part in location:
        if isinstance(part, int):
            continue
        by_key = {field.alias or name: field for name, field in section.model_fields.items()}
        annotation = by_key[part].annotation
        section = next((arg for arg in get_args(annotation) if hasattr(arg, "model_fields")), annotation)
        if not hasattr(section, "model_fields"):
            return []
    return [field.alias or name for name, field in section.model_fields.items()]
