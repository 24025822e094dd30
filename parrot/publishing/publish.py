"""Give a packaged model to others, on the Hub or in a folder; what a killed attempt did is not done again."""

from pathlib import Path

from huggingface_hub import ModelCard, get_token

from parrot.config import Params
from parrot.errors import ParrotError
from parrot.publishing.folder_target import FolderTarget
from parrot.publishing.hub_target import HubTarget
from parrot.publishing.target import (
    CARD,
    WEIGHTS,
    Contents,
    Published,
    Target,
    check_version,
    read,
    size,
)

_SMALL = 2**20
"""Bytes; what is larger are weights, and no text that a token may have got into."""


def target_of(params: Params) -> Target:
    """Where `params` say that models go."""
    if params.package.repo_id:
        return HubTarget(params.package.repo_id, params.publish)
    return FolderTarget(Path(params.publish.folder) / params.package.name)


def publish(package: Path, target: Target, *, version: str, paragraph: str = "") -> Published:
    """Keep the package as `version`, and show that to whoever names no version.

    A version that is there stays as it was published first, with its card, and is shown again.

    Args:
        package: folder as the stage `package` makes it.
        paragraph: why this version is published, for its card; Markdown.

    Raises:
        ParrotError: the package is not whole, the version is there with other weights, or the target does not
            take it; says what to do. Whoever does it and calls again gets what is missing done.
    """
    check_version(version)
    contents = contents_of(package, version, paragraph)
    if version not in target.versions():
        return Published(target.name, version, target.add(contents, version))
    if not _has_weights(target, contents, version):
        raise ParrotError(
            f"{target.name}: version {version} is there with other weights, and a version is never changed; "
            f"publish {package} as another one"
        )
    return _show(target, version)


def retag(target: Target, version: str) -> Published:
    """Show a version that was published before: the way back.

    Raises:
        ParrotError: there is no such version.
    """
    if version not in (there := target.versions()):
        raise ParrotError(
            f"{target.name}: no version {version}; there: {', '.join(there) or 'none'}. Name one of them"
        )
    return _show(target, version)


def next_version(package: Path, target: Target) -> str:
    """The version that has these weights, or the number behind the highest."""
    versions = target.versions()
    contents = contents_of(package, "", "")
    for version in reversed(versions):
        if _has_weights(target, contents, version):
            return version
    return str(1 + max((int(version) for version in versions if version.isdigit()), default=0))


def would_send(package: Path, target: Target, version: str) -> list[str]:
    """What `publish` would do, in lines: nothing is written."""
    contents = contents_of(package, version, "")
    differing = target.differing(contents, None)
    lines = [f"{target.name}: version {version}, in place of {target.current() or 'nothing'}"]
    for path in sorted(differing):
        if path in contents:
            lines.append(f"  send    {path} ({size(contents[path]):,} bytes)")
        else:
            lines.append(f"  remove  {path}")
    lines.append(f"  {len(contents.keys() - differing)} files are there already")
    return lines


def contents_of(package: Path, version: str, paragraph: str) -> Contents:
    """The files of a package, with what the card says of this version.

    Raises:
        ParrotError: there is no package, its card is not readable, or a file holds the Hub's token.
    """
    files = sorted(file for file in package.rglob("*") if file.is_file()) if package.is_dir() else []
    contents: dict[str, Path | bytes] = {file.relative_to(package).as_posix(): file for file in files}
    for needed in (CARD, "config.json"):
        if needed not in contents:
            raise ParrotError(
                f"{package}: holds no {needed}, so it is no package; make one with `dvc repro package`"
            )
    if not any(path.endswith(WEIGHTS) for path in contents):
        raise ParrotError(f"{package}: holds no weights (*{WEIGHTS}); make it anew with `dvc repro package`")
    contents[CARD] = _card(package / CARD, version, paragraph).encode()
    _refuse_token(contents, package)
    return contents


def _show(target: Target, version: str) -> Published:
    return Published(target.name, version, None if target.current() == version else target.move(version))


def _card(file: Path, version: str, paragraph: str) -> str:
    try:
        card = ModelCard(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ParrotError(f"{file}: its metadata cannot be read ({error}); make the package anew") from None
    card.data["version"] = version
    said = f"This is version {version}. {paragraph}".strip()
    return f"{card.content.rstrip()}\n\n## Version\n\n{said}\n"


def _refuse_token(contents: Contents, package: Path) -> None:
    token = (get_token() or "").encode()
    for path, content in contents.items():
        if token and size(content) <= _SMALL and token in read(content):
            raise ParrotError(
                f"{package / path}: holds the token of the Hub; take it out of where it comes from, and make "
                f"a new token, for this one may have been seen. Nothing was sent"
            )


def _has_weights(target: Target, contents: Contents, version: str) -> bool:
    weights = {path: content for path, content in contents.items() if path.endswith(WEIGHTS)}
    return not {path for path in target.differing(weights, version) if path.endswith(WEIGHTS)}
