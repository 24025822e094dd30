"""A repository of the Hub that keeps the versions of a model: a tag for each, and `main` shows one of them.

What `main` shows is moved by one commit, which replaces all files at once. Of a version's card the metadata
`version` say which it is. A tag is made last and never moved: what has one is whole.
"""

import hashlib
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    Discussion,
    HfApi,
    ModelCard,
)
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash

from parrot.config_publishing import Publish
from parrot.errors import ParrotError
from parrot.files import file_digest
from parrot.publishing.hub_errors import WAITS, patiently
from parrot.publishing.target import CARD, WEIGHTS, Contents, Placed, in_order, read, size

Answer = TypeVar("Answer")
Tree = dict[str, RepoFile]
Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete

MAIN = "main"
KEPT = ".gitattributes"
"""The Hub's own, which says what is stored as LFS."""


@dataclass(frozen=True)
class HubTarget:
    repo: str
    """`USER/NAME`."""
    settings: Publish
    api: HfApi = field(default_factory=HfApi)
    """Knows the Hub's address (HF_ENDPOINT) and the token (HF_TOKEN, or as `hf auth login` has kept it)."""
    waits: tuple[float, ...] = WAITS
    _digests: dict[tuple[str, int, int], str] = field(default_factory=dict, repr=False, compare=False)
    """Of weights that were read once: they are many gigabytes."""

    @property
    def name(self) -> str:
        return self.repo

    def versions(self) -> list[str]:
        return self._asked(lambda: in_order(self._tags()))

    def current(self) -> str | None:
        return self._asked(lambda: self._shown(MAIN))

    def differing(self, contents: Contents, version: str | None) -> set[str]:
        return self._asked(lambda: self._differing(contents, self._tree(_tag(version) if version else MAIN)))

    def add(self, contents: Contents, version: str) -> Placed:
        return self._asked(lambda: self._add(contents, version))

    def move(self, version: str) -> Placed:
        return self._asked(lambda: self._move(version))

    def _asked(self, call: Callable[[], Answer]) -> Answer:
        return patiently(self.repo, self.api.endpoint, call, self.waits)

    def _add(self, contents: Contents, version: str) -> Placed:
        self._provide()
        head = self._head()
        there = self._tree(head)
        finished = self._shown(head) == version and not self._has_other_weights(contents, there)
        operations = [] if finished else self._replace(contents, there)
        if operations and self.settings.pull_request:
            return self._propose(contents, operations, head, version)
        commit = self._commit(operations, head, _title(version)) if operations else head
        self._name_in_former_repository()
        self.api.create_tag(self.repo, tag=_tag(version), revision=commit, exist_ok=True)
        return Placed(commit)

    def _move(self, version: str) -> Placed:
        head, wanted = self._head(), self._tree(_tag(version))
        there = self._tree(head)
        operations: list[Operation] = [
            CommitOperationCopy(path, path, src_revision=_tag(version))
            for path, file in wanted.items()
            if path not in there or file.blob_id != there[path].blob_id
        ]
        operations += _deleted(there.keys() - wanted.keys())
        if not operations:
            return Placed(head)
        return Placed(self._commit(operations, head, f"Show version {version} again"))

    def _provide(self) -> None:
        """The repository, closed to others as the settings ask; never opened, which is a person's to do."""
        try:
            found = self.api.model_info(self.repo)
        except RepositoryNotFoundError:
            self.api.create_repo(self.repo, private=self.settings.private, exist_ok=True)
            found = self.api.model_info(self.repo)
        if self.settings.private and not found.private:
            raise ParrotError(
                f"{self.repo}: anyone can see this repository, and publish.private is true; make it private "
                f"on its page, or set publish.private: false. Nothing was sent"
            )
        if self.settings.gated and found.gated != self.settings.gated:
            self.api.update_repo_settings(self.repo, gated=self.settings.gated)

    def _propose(self, contents: Contents, operations: list[Operation], head: str, version: str) -> Placed:
        """A pull request; that of an earlier attempt, brought up to date, if there is one."""
        for request in self._requests(version):
            reference = f"refs/pr/{request.num}"
            if operations := self._replace(contents, self._tree(reference)):
                self.api.create_commit(
                    self.repo, operations, commit_message=_title(version), revision=reference
                )
            return Placed(reference, request.url)
        made = self.api.create_commit(
            self.repo, operations, commit_message=_title(version), parent_commit=head, create_pr=True
        )
        return Placed(made.oid, made.pr_url)

    def _requests(self, version: str) -> list[Discussion]:
        """The open pull requests of a version; none but ours has one of these titles."""
        asked = self.api.get_repo_discussions(
            self.repo, discussion_type="pull_request", discussion_status="open"
        )
        return [request for request in asked if request.title == _title(version)]

    def _name_in_former_repository(self) -> None:
        """Within a repository no card points to a newer version: `main` shows it, and tags never change."""
        former = self.settings.replaces
        if not former:
            return
        text = self._text(former, MAIN)
        card = ModelCard(text or "")
        if card.data.get("new_version") == self.repo:
            return
        card.data["new_version"] = self.repo
        change = CommitOperationAdd(CARD, str(card).encode())
        self.api.create_commit(former, [change], commit_message=f"Name {self.repo} as the new version")

    def _commit(self, operations: list[Operation], head: str, title: str) -> str:
        """Refused if `main` is no longer `head`: then all is looked at again."""
        made = self.api.create_commit(self.repo, operations, commit_message=title, parent_commit=head)
        return made.oid

    def _replace(self, contents: Contents, there: Tree) -> list[Operation]:
        """What makes a tree these contents, and nothing of what was there before."""
        differing = self._differing(contents, there)
        added: list[Operation] = [
            CommitOperationAdd(path, content) for path, content in contents.items() if path in differing
        ]
        return added + _deleted(differing - contents.keys())

    def _differing(self, contents: Contents, there: Tree) -> set[str]:
        return ((contents.keys() ^ there.keys()) - {KEPT}) | {
            path
            for path in contents.keys() & there.keys()
            if size(contents[path]) != there[path].size or not self._same(contents, path, there[path])
        }

    def _has_other_weights(self, contents: Contents, there: Tree) -> bool:
        return any(path.endswith(WEIGHTS) for path in self._differing(contents, there))

    def _same(self, contents: Contents, path: str, there: RepoFile) -> bool:
        if there.lfs is None:
            return git_hash(read(contents[path])) == there.blob_id
        content = contents[path]
        if isinstance(content, bytes):
            return _sha256(content) == there.lfs.sha256
        stat = content.stat()
        key = (str(content), stat.st_mtime_ns, stat.st_size)
        if key not in self._digests:
            self._digests[key] = _sha256(content)
        return self._digests[key] == there.lfs.sha256

    def _head(self) -> str:
        head = self.api.model_info(self.repo, revision=MAIN).sha
        assert head, "the Hub gives a commit for a revision"
        return head

    def _tree(self, revision: str) -> Tree:
        """The files of a revision; none of a repository that is not there."""
        try:
            listed = list(self.api.list_repo_tree(self.repo, recursive=True, revision=revision))
        except RepositoryNotFoundError as error:
            _only_missing(error)
            return {}
        return {item.path: item for item in listed if isinstance(item, RepoFile)}

    def _tags(self) -> list[str]:
        try:
            tags = self.api.list_repo_refs(self.repo).tags
        except RepositoryNotFoundError as error:
            _only_missing(error)
            return []
        return [tag.name[1:] for tag in tags if tag.name.startswith("v")]

    def _shown(self, revision: str) -> str | None:
        text = self._text(self.repo, revision)
        found = ModelCard(text, ignore_metadata_errors=True).data.get("version") if text else None
        return None if found is None else str(found)

    def _text(self, repo: str, revision: str) -> str | None:
        """The card, if there is one; never that of a cache, which may be older."""
        with TemporaryDirectory() as folder:
            try:
                file = self.api.hf_hub_download(repo, CARD, revision=revision, local_dir=folder)
            except RemoteEntryNotFoundError:
                return None
            except RepositoryNotFoundError as error:
                _only_missing(error)
                return None
            return Path(file).read_text(encoding="utf-8")


def _only_missing(error: RepositoryNotFoundError) -> None:
    """Also one that is hidden from whoever is not logged in is "not found", and no reason to make it."""
    if error.response.status_code != 404:
        raise error


def _title(version: str) -> str:
    return f"Version {version}"


def _tag(version: str) -> str:
    """The Hub takes a name of hexadecimal digits alone for a commit."""
    return f"v{version}"


def _deleted(paths: Set[str]) -> list[Operation]:
    return [CommitOperationDelete(path) for path in sorted(paths - {KEPT})]


def _sha256(content: Path | bytes) -> str:
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else file_digest(content)
