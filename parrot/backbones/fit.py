"""`parrot backbone`: any published language model or vision tower, made fit for Parrot."""

from pathlib import Path

from parrot.backbones.hub import fetch
from parrot.backbones.pretrained import kind_of
from parrot.errors import ParrotError


def fit(source: str, revision: str | None, output: Path) -> list[str]:
    """Write the language model or tower that `source` (a folder, or a Hub name) is to `output`, made fit.

    Returns what it is and what was changed, in sentences.

    Raises:
        ParrotError: it cannot be made fit; says why.
    """
    if revision and Path(source).is_dir():
        raise ParrotError(f"{source} is a folder: a revision belongs to a name on the Hub")
    if output.is_dir() and any(output.iterdir()):
        raise ParrotError(f"{output} is not empty; name a new folder")
    folder = fetch(source, revision)
    kind = kind_of(folder)
    # Each needs other heavy packages.
    if kind == "vision":
        from parrot.backbones.fit_vision import fit_vision

        return ["a vision tower", *fit_vision(folder, output)]
    from parrot.backbones.fit_language import fit_language

    return ["a language model", *fit_language(folder, output)]
