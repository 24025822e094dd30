"""params.yaml as a person asks for it in a form, for as long as a run lasts."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.console import console
from parrot.errors import ParrotError
from parrot.files import write_json, write_text
from parrot.params import PARAMS_FILE, load_params
from parrot.profiles import compose

_KEPT = Path(".parrot/params-of-run.json")
"""What params.yaml was, and what the run made of it; if a run is killed, the next one puts it back."""
_BEFORE = Path(".parrot/params-before-run.yaml")
"""What it was, where it cannot be put back."""


@contextmanager
def chosen_params(profile: str | None, overrides: Sequence[str]) -> Iterator[None]:
    """Let params.yaml be that of a profile with overrides such as `sft.learning_rate=0.001`; then as it was.

    Raises:
        ParrotError: there is no such profile or key, or a value is wrong.
    """
    _put_back()
    if not profile and not overrides:
        yield
        return
    before = PARAMS_FILE.read_text(encoding="utf-8")
    text = override(compose(profile) if profile else before, overrides)
    write_json(_KEPT, {"before": before, "during": text})
    try:
        write_text(PARAMS_FILE, text)
        load_params()
        yield
    finally:
        _put_back()


def override(text: str, settings: Sequence[str]) -> str:
    """The text of params.yaml with other values, written as `dvc exp run -S` writes it."""
    yaml = YAML()
    yaml.default_flow_style = False
    tree = yaml.load(text)
    for setting in settings:
        key, equals, value = setting.partition("=")
        *sections, last = key.strip().split(".")
        at = tree
        for section in sections:
            at = at.get(section) if isinstance(at, dict) else None
        if not equals or not isinstance(at, dict):
            raise ParrotError(
                f"'{setting}' names no key of {PARAMS_FILE}; write it as sft.learning_rate=0.001"
            )
        try:
            at[last] = YAML(typ="safe").load(value)
        except YAMLError:
            raise ParrotError(f"'{setting}': what is after = is no value of YAML") from None
    stream = StringIO()
    yaml.dump(tree, stream)
    return stream.getvalue()


def _put_back() -> None:
    if not _KEPT.exists():
        return
    kept = json.loads(_KEPT.read_text(encoding="utf-8"))
    if PARAMS_FILE.exists() and PARAMS_FILE.read_text(encoding="utf-8") not in kept.values():
        write_text(_BEFORE, kept["before"])
        console.line(
            f"{PARAMS_FILE} was edited while a run had values of its own in it, and stays as it is: "
            f"compare it with {_BEFORE}, which it was before the run"
        )
    else:
        write_text(PARAMS_FILE, kept["before"])
    _KEPT.unlink()
