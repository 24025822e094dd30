"""YAML as DVC reads it, and sentences for what is not fit to be read."""

import contextlib
import re
from pathlib import Path
from typing import Any

import yaml

from parrot.errors import ParrotError

_OPENING = (
    yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken, yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)  # fmt: skip
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
_DEEP = 30
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers (PyYAML takes `1e-3` for a text), and no key twice (PyYAML takes the last)."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)  # type: ignore[no-untyped-call]
        except ValueError as error:  # a date or a number that there cannot be
            reason = "a number of too many digits" if "digits" in str(error) else str(error)
            raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, yaml.Node] = {}
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            name = self.construct_object(key, deep=True)
            if isinstance(name, dict | list):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    f"'{name}' stands there already", seen[name].start_mark,
                    "and must not stand there twice", key.start_mark,
                )  # fmt: skip
            seen[name] = key
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path | str) -> Any:
    """What a YAML file holds.

    Raises:
        ParrotError: the file is missing, is a folder or cannot be read, or is not YAML; the sentence
            names the line where there is one.
    """
    path = Path(path)
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        raise ParrotError(f"{path}: not found; run from the project's top folder") from None
    except OSError as error:
        raise ParrotError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ParrotError(f"{path}: not readable as YAML: {error}") from None


def parse_yaml(text: str, path: Path) -> Any:
    """What `text` holds, the content of `path`.

    Raises:
        ParrotError: as for `read_yaml`.
    """
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise ParrotError(f"{path}: not readable as YAML: {_deep_line(text)} is nested too deep") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).replace('"<unicode string>", ', "").split())
        raise ParrotError(f"{path}: not readable as YAML: {reason}") from None


def _deep_line(text: str) -> str:
    """The first line that is far down in brackets or sections; unlike parsing, scanning does not recurse."""
    depth = 0
    with contextlib.suppress(yaml.YAMLError):
        for token in yaml.scan(text):
            if isinstance(token, _OPENING):
                depth += 1
            elif isinstance(token, _CLOSING):
                depth -= 1
            if depth == _DEEP:
                number = token.start_mark.line
                return f"line {number + 1}, '{text.splitlines()[number].strip()[:40]}'"
    return "it"
