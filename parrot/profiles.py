"""Profiles: files in `conf/` that overlay one another and compose to params.yaml. See docs/profiles.md."""

import difflib
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from parrot.config import Params
from parrot.errors import ParrotError
from parrot.files import atomic_file
from parrot.params import PARAMS_FILE, Key, check_tree, section_fields
from parrot.yaml_files import parse_yaml

CONF = Path("conf")
WHOLE = "!replace"
"""A mapping with this tag takes the place of the one below it; without it the two are merged."""

_HEADER = """\
# Every choice, once. `parrot profile {name}` (sum {sum}) wrote it from conf/; what is changed here counts.
# dvc.yaml says which stage depends on which keys, so a changed value reruns exactly what it touches.
# Written as `dvc exp run -S` writes it, so that an experiment changes nothing but its values.

"""
_WRITTEN = re.compile(r"`parrot profile (\S+)` \(sum ([0-9a-f]{8})\).*?\n\n", re.DOTALL)
"""A header, up to the body: which profile wrote it, and the body's sum as it was then."""


@dataclass
class _Composed:
    """Layers, put one over the other."""

    tree: CommentedMap = field(default_factory=CommentedMap)
    files: dict[Key, Path] = field(default_factory=dict)
    """Key -> the file that set it last."""

    def overlay(self, layer: CommentedMap, file: Path, at: Key = ()) -> None:
        """Mappings merge; everything else, its comment included, takes the place of what was there."""
        below = self.tree
        for part in at:
            below = below[part]
        for name, value in layer.items():
            key = (*at, name)
            if name in layer.ca.items:
                below.ca.items[name] = layer.ca.items[name]
            whole = isinstance(value, CommentedMap) and value.tag.value == WHOLE
            if isinstance(below.get(name), CommentedMap) and isinstance(value, CommentedMap) and not whole:
                self.overlay(value, file, key)
                continue
            if whole:
                del value._yaml_tag
            if name not in layer.ca.items:
                below.ca.items.pop(name, None)
            below[name] = value
            self.files = {old: of for old, of in self.files.items() if old[: len(key)] != key}
            self.files[key] = file

    def file_of(self, key: Key) -> Path | None:
        """Which file set `key`, or what it is in."""
        return next(
            (self.files[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self.files), None
        )


def write_profile(name: str, *, force: bool = False) -> None:
    """Compose the profile `name` and write it to params.yaml.

    Raises:
        ParrotError: there is no such profile or it is not valid; or params.yaml was changed since a
            profile wrote it, which only `force` overwrites. The sentence says what would be lost.
    """
    text = compose(name)
    if not force and PARAMS_FILE.exists():
        before = PARAMS_FILE.read_text(encoding="utf-8")
        writer, unchanged = _written_by(before)
        if not unchanged:
            compared = writer if writer in profile_names() else name
            lost = "\n".join(f"  {line}" for line in _differences(before, compared))
            raise ParrotError(
                f"{PARAMS_FILE} was changed since a profile wrote it. Make a profile of the changes "
                f"(docs/profiles.md), or add --force, which loses them:\n{lost}"
            )
    with atomic_file(PARAMS_FILE) as partial:
        partial.write_text(text, encoding="utf-8")


def list_profiles() -> list[str]:
    """A line for each profile, then what params.yaml is."""
    names = profile_names()
    width = max(map(len, names), default=0)
    lines = [f"{name:{width}}  {_read(_file(name)).get('about', '')}" for name in names]
    return [*lines, "", *_whose_params(names)]


def profile_of_params() -> tuple[str, dict[str, Any]] | None:
    """Name and sum of the profile that wrote params.yaml, and what it says now; None if that is not known."""
    writer, _ = _written_by(PARAMS_FILE.read_text(encoding="utf-8"))
    try:
        text = compose(writer or "")
    except ParrotError:
        return None
    tree: dict[str, Any] = parse_yaml(text, PARAMS_FILE)
    header = _WRITTEN.search(text)
    return f"{writer} {header[2] if header else ''}".strip(), tree


def profile_names() -> list[str]:
    """The files right in `conf/`; those in folders there are only parts of others."""
    return sorted(path.stem for path in CONF.glob("*.yaml"))


def compose(name: str) -> str:
    """The text of params.yaml as the profile `name` has it.

    Raises:
        ParrotError: there is no such profile; or it is not valid, with the file and key at fault.
    """
    names = profile_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(names) or 'none in conf/'}"
        raise ParrotError(f"no profile '{name}'; {hint}")
    composed = _Composed()
    _overlay(composed, name, ())
    tree = parse_yaml(_dump(composed.tree), _file(name))
    check_tree(tree, Params, lambda key: composed.file_of(key) or _file(name))
    for section in section_fields(Params):
        composed.tree.move_to_end(section)
    body = _separated(_dump(composed.tree), composed.tree)
    return _HEADER.format(name=name, sum=_sum(body)) + body


def params_of(name: str) -> Params:
    """The parameters as the profile `name` has them; raises as `compose`."""
    return check_tree(parse_yaml(compose(name), _file(name)), Params, lambda key: _file(name))


def _file(name: str) -> Path:
    return CONF / f"{name}.yaml"


def _overlay(composed: _Composed, name: str, above: tuple[str, ...]) -> None:
    """Lay the file `name` of conf/, after the files that it names as its parts, over what is composed."""
    file = _file(name)
    layer = _read(file)
    parts = layer.pop("parts", [])
    layer.pop("about", None)
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ParrotError(f"{file}: parts: a list of files in conf/ is expected, such as [parts/base]")
    for part in parts:
        if part in (*above, name):
            raise ParrotError(
                f"{file}: parts: {' → '.join((*above, name, part))}: it would be a part of itself"
            )
        if not _file(part).is_file():
            raise ParrotError(f"{file}: parts: there is no {_file(part)}")
        _overlay(composed, part, (*above, name))
    composed.overlay(layer, file)


def _read(file: Path) -> CommentedMap:
    """A file with its comments; blank lines, which belong to the place and not to a value, are left out."""
    try:
        layer = _yaml().load(file.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        raise ParrotError(f"{file}: not readable as YAML: {error.problem} in line {line}") from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ParrotError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(layer, CommentedMap):
        raise ParrotError(f"{file}: expected sections such as 'sft:'")
    for node in _nodes(layer):
        if isinstance(node, CommentedSeq):
            node.fa.set_block_style()  # as `dvc exp run -S` writes every list
        for entry in node.ca.items.values():
            for token in _flat(entry):
                token.value = re.sub(r"\n\s*\n", "\n", token.value)
    return layer


def _nodes(tree: Any) -> Iterator[Any]:
    """Mappings and lists, `tree` itself and what is in it."""
    if isinstance(tree, CommentedMap | CommentedSeq):
        yield tree
        for inner in tree.values() if isinstance(tree, CommentedMap) else tree:
            yield from _nodes(inner)


def _flat(entry: Any) -> Iterator[Any]:
    """ruamel's tokens of the comments round a value: alone, in lists, or none."""
    if isinstance(entry, list):
        for inner in entry:
            yield from _flat(inner)
    elif entry is not None:
        yield entry


def _yaml() -> YAML:
    """As DVC sets it up to write params.yaml."""
    yaml = YAML()
    yaml.default_flow_style = False
    return yaml


def _dump(tree: CommentedMap) -> str:
    stream = io.StringIO()
    _yaml().dump(tree, stream)
    return stream.getvalue()


def _separated(body: str, tree: CommentedMap) -> str:
    """The text of `tree` with a blank line before each section."""
    sections = "|".join(re.escape(name) for name, value in tree.items() if isinstance(value, dict))
    return re.sub(rf"\n+(?=({sections}):)", "\n\n", body)


def _sum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:8]


def _written_by(text: str) -> tuple[str | None, bool]:
    """The profile that wrote this text of params.yaml, and whether it is as it was then."""
    header = _WRITTEN.search(text)
    return (header[1], _sum(text[header.end() :]) == header[2]) if header else (None, False)


def _whose_params(names: list[str]) -> list[str]:
    if not PARAMS_FILE.exists():
        return [f"there is no {PARAMS_FILE}; `parrot profile NAME` writes it"]
    text = PARAMS_FILE.read_text(encoding="utf-8")
    writer, unchanged = _written_by(text)
    if writer not in names:
        return [f"{PARAMS_FILE} was not written by one of these"]
    if text == compose(writer):
        return [f"{PARAMS_FILE} is {writer}"]
    what = (
        f"conf/ has changed since: `parrot profile {writer}` writes it anew" if unchanged else "with changes"
    )
    return [f"{PARAMS_FILE} is {writer}, {what}", *(f"  {line}" for line in _differences(text, writer))]


def _differences(text: str, name: str) -> list[str]:
    """Where params.yaml says something else than the profile `name`; a line for each key."""
    now, then = (dict(_leaves(parse_yaml(tree, PARAMS_FILE))) for tree in (text, compose(name)))
    keys = [key for key in {**then, **now} if now.get(key, ...) != then.get(key, ...)]
    lines = [f"{key}: {now.get(key, 'not there')} ({name}: {then.get(key, 'not there')})" for key in keys]
    return lines or [f"comments or form ({name} has the same values)"]


def _leaves(tree: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict) and tree:
        for name, value in tree.items():
            yield from _leaves(value, f"{above}.{name}" if above else str(name))
    else:
        yield above, tree
