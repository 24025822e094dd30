"""The known formats, of formats.yaml."""

import difflib
from functools import cache
from pathlib import Path

from parrot.config import Format
from parrot.data.sources.odd import READERS, REWRITES
from parrot.errors import ParrotError
from parrot.yaml_files import read_yaml

_FILE = Path(__file__).with_name("formats.yaml")


@cache
def known_formats() -> dict[str, Format]:
    return {name: Format.model_validate(tree) for name, tree in read_yaml(_FILE).items()}


def format_of(name: str, given: str | Format) -> Format:
    """The format of source `name`.

    Raises:
        ParrotError: it names one that is not known.
    """
    known = known_formats()
    form = known.get(given) if isinstance(given, str) else given
    if form is None:
        close = difflib.get_close_matches(str(given), known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
        raise ParrotError(f"sources.{name}.format: '{given}' is not known; {hint}, or describe your own")
    for key, wanted, there in (("reader", form.reader, READERS), ("rewrite", form.rewrite, REWRITES)):
        if wanted is not None and wanted not in there:
            raise ParrotError(f"sources.{name}.format.{key}: no '{wanted}'; known are {', '.join(there)}")
    return form
