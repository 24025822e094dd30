"""Fetching what is published: resumable, and the same again as at the first time."""

import hashlib
import shutil
import urllib.request
from fnmatch import fnmatch
from http.client import HTTPException
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import yaml
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from tqdm import tqdm

from parrot.catalog.needs import Need
from parrot.config_data import Origin
from parrot.data.images import ImageStore
from parrot.data.rejects import Rejected
from parrot.errors import ParrotError
from parrot.files import atomic_file, file_digest, write_text
from parrot.yaml_files import read_yaml

LOCK = Path("data.lock.yaml")
"""What was fetched, a URL or `datasets/USER/NAME/resolve/COMMIT/FILE` of the Hub, its size and SHA-256: later
fetches get the same or stop."""
WORK = Path(".parrot/fetching")
"""What is on its way; an interrupted fetch goes on here."""
_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte


def get(need: Need) -> list[str]:
    """Fetch what is missing of a source; a line for each thing, those among them that nothing serves.

    Raises:
        ParrotError: it cannot be fetched, or is not what it was at the first fetch.
    """
    lines = []
    for path, origin, is_folder in need.missing():
        if origin is None:
            lines.append(f"{need.name}: {path}: is served by nothing; `parrot data list` says how to get it")
            continue
        fetch(origin, path, is_folder=is_folder)
        lines.append(f"{need.name}: {path}: fetched from {origin.url or origin.hub}")
    return lines


def fetch(origin: Origin, target: Path, *, is_folder: bool = False) -> None:
    """Put what `origin` serves to the file `target`, or into the folder.

    Raises:
        ParrotError: it cannot be fetched, or is not what it was at the first fetch.
    """
    files = [_from_url(origin)] if origin.url else _from_hub(origin)
    if len(files) > 1 and not is_folder:
        raise ParrotError(
            f"{origin.hub}: {len(files)} files are called {origin.file}, one is expected for {target}: "
            f"{', '.join(file.name for file in files[:5])}"
        )
    for file in files:
        _place(file, target / file.name if is_folder else target, origin.member)


def _place(file: Path, target: Path, member: str | None) -> None:
    with atomic_file(target) as partial:
        if member is None:
            shutil.move(file, partial)
            return
        try:
            partial.write_bytes(ImageStore(file).read(member))
        except Rejected as error:
            raise ParrotError(f"{target}: {error.reason}") from None
    file.unlink()


def _from_hub(origin: Origin) -> list[Path]:
    repo = str(origin.hub)
    try:
        commit = origin.revision or _first_commit(repo, str(origin.file)) or HfApi().dataset_info(repo).sha
        names = HfApi().list_repo_files(repo, repo_type="dataset", revision=commit)
        wanted = sorted(name for name in names if fnmatch(name, str(origin.file)))
        if not wanted:
            raise ParrotError(
                f"{repo}: has no {origin.file} at {commit}, but {', '.join(sorted(names)[:20])}; "
                f"name the file in the source's `origin`"
            )
        for name, others in groupby(sorted(wanted, key=_last), _last):
            if len(same := list(others)) > 1:
                raise ParrotError(
                    f"{repo}: {origin.file} names {' and '.join(same[:2])}: in one folder the second {name} "
                    f"would overwrite the first; let the source's `origin` name the files of one folder"
                )
        folder = WORK / repo.replace("/", "--")
        files = [
            Path(hf_hub_download(repo, name, repo_type="dataset", revision=commit, local_dir=folder))
            for name in wanted
        ]
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        said = " ".join(str(error).split())[:300]
        raise ParrotError(f"{repo}: cannot be fetched from the Hub: {said}; start again to go on") from None
    for name, file in zip(wanted, files, strict=True):
        _record(f"{_commits(repo)}{commit}/{name}", file, origin)
    return files


def _from_url(origin: Origin) -> Path:
    url = str(origin.url)
    file = WORK / hashlib.sha256(url.encode()).hexdigest()[:16] / Path(url).name
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        _download(url, file)
    except (URLError, HTTPException, OSError) as error:
        raise ParrotError(f"{url}: cannot be fetched: {error}; start again to go on where it ended") from None
    _record(url, file, origin)
    return file


def _download(url: str, file: Path) -> None:
    """Write to `file` what it lacks. The server's mark of this version lies beside it, so that no two mix."""
    mark = file.with_name(f"{file.name}.etag")
    there = file.stat().st_size if file.exists() and mark.exists() else 0
    request = urllib.request.Request(url)
    if there:
        request.add_header("Range", f"bytes={there}-")
        request.add_header("If-Range", mark.read_text(encoding="utf-8"))
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and there:  # nothing follows: it is whole
            return
        raise
    with answer, file.open("ab" if answer.status == 206 else "wb") as opened:
        done = there if answer.status == 206 else 0
        rest = int(answer.headers.get("Content-Length") or 0)
        if etag := answer.headers.get("ETag") or answer.headers.get("Last-Modified"):
            mark.write_text(etag, encoding="utf-8")
        with tqdm(desc=file.name, total=done + rest or None, initial=done, unit="B", unit_scale=True) as bar:
            while chunk := answer.read(_CHUNK):
                opened.write(chunk)
                bar.update(len(chunk))
        if rest and opened.tell() != done + rest:
            raise OSError(f"it ended after {opened.tell()} of {done + rest} bytes")


def _record(address: str, file: Path, origin: Origin) -> None:
    """Keep in `data.lock.yaml` what was fetched.

    Raises:
        ParrotError: it is not what it was at the first fetch, or should be; then the file is gone.
    """
    found = {"size": file.stat().st_size, "sha256": file_digest(file)}
    recorded = _recorded()
    if found["sha256"] != (origin.sha256 or recorded.get(address, found)["sha256"]):
        file.unlink()
        raise ParrotError(
            f"{address}: serves something else than at the first fetch (SHA-256 {found['sha256']}); if that "
            f"is right, remove its entry from {LOCK}, or correct the `sha256` of its origin"
        )
    if recorded.get(address) != found:
        write_text(LOCK, yaml.safe_dump(recorded | {address: found}))


def _recorded() -> dict[str, Any]:
    return read_yaml(LOCK) if LOCK.exists() else {}


def _first_commit(repo: str, pattern: str) -> str | None:
    """At which a file of the pattern was fetched first, or else another one of the Hub's repository."""
    before = _commits(repo)
    found = [address.removeprefix(before) for address in _recorded() if address.startswith(before)]
    commits = [
        (not fnmatch(name, pattern), commit) for commit, _, name in (one.partition("/") for one in found)
    ]
    return min(commits, default=(True, None))[1]


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _commits(repo: str) -> str:
    """What the addresses of all files in a repository of the Hub begin with."""
    return f"datasets/{repo}/resolve/"
