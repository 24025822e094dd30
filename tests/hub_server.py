"""A stand-in for the Hub on this machine: it answers what huggingface_hub asks to publish and to download.

    with HubServer() as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)  # or HF_ENDPOINT and HF_TOKEN of a new process
        …
        hub.files("someone/model", "v1")["README.md"]
        hub.uploads, hub.log

Files are stored as LFS or not, as `STORED_AS_LFS` says, and not as Xet: a client needs HF_HUB_DISABLE_XET=1,
or `without_xet(monkeypatch)` in this process. Data sets, spaces and everything else that is no model are not
there. All is in memory.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

import huggingface_hub.constants
import pytest
import yaml

STORED_AS_LFS = (".safetensors", ".bin", ".jpg", ".png")
LARGE = 10 * 2**20  # bytes; what is larger is stored as LFS, too
ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in STORED_AS_LFS).encode()
REPO_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def without_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub upload by LFS, in this process."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)


@dataclass(frozen=True)
class Request:
    """One that was answered, or cut off."""

    method: str
    path: str
    """With its query."""
    sent: int
    """Bytes of its body that arrived."""
    status: int | None
    """None: the connection was cut."""


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of this kind."""

    method: str
    """A regular expression, as is `path`, which is searched for in the path."""
    path: str
    status: int | None = None
    """The answer; None: none, the connection is cut."""
    times: int = 1
    after: int = 0
    """So many of this kind pass before."""
    after_bytes: int | None = None
    """Cut after so many bytes of the body; None: before the answer, with the body read and thrown away."""
    answered: bool = False
    """The request is done, and only the answer is lost."""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    id: str
    title: str
    parent: str | None
    tree: dict[str, bytes]
    """Path -> content."""


@dataclass
class PullRequest:
    number: int
    title: str
    status: Literal["open", "merged", "closed"] = "open"


@dataclass
class Repository:
    private: bool
    gated: Literal["auto", "manual", False] = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    """Also `refs/pr/1`."""
    tags: dict[str, str] = field(default_factory=dict)
    requests: list[PullRequest] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    """What `main` was, one after the other."""

    def commit(self, title: str, tree: dict[str, bytes], branch: str) -> Commit:
        parent = self.branches.get(branch)
        told = json.dumps([title, parent, {path: _git_hash(content) for path, content in tree.items()}])
        made = Commit(hashlib.sha1(told.encode()).hexdigest(), title, parent, tree)
        self.commits[made.id] = made
        self.set_branch(branch, made.id)
        return made

    def set_branch(self, name: str, commit: str) -> None:
        self.branches[name] = commit
        if name == "main":
            self.history.append(commit)


class Refusal(Exception):
    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        self.status, self.message = status, message
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _is_lfs(path: str, size: int) -> bool:
    return size > 0 and (path.endswith(STORED_AS_LFS) or size > LARGE)


def _pointer(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


class HubServer:
    """A context manager; while it is open, it answers at `endpoint` whoever shows `token`."""

    def __init__(self, user: str = "someone") -> None:
        self.user = user
        self.token = "hf_" + "PlantedToken" * 3
        self.reader = "hf_" + "ReadingToken" * 3
        """May read, and write nothing."""
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        """SHA-256 -> what was uploaded as LFS."""
        self.log: list[Request] = []
        self.faults: list[Fault] = []
        self.watch: Callable[[Request], None] = lambda request: None
        """Called with each request that was done, before its answer is sent."""
        self.connections = 0
        """Those that are open: what a killed client has sent arrives before its are not."""
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """Path -> content, without the Hub's own `.gitattributes`."""
        tree = self._find(repo, revision).tree
        return {path: content for path, content in tree.items() if path != ".gitattributes"}

    def history(self, repo: str) -> list[Commit]:
        """All that `main` ever showed, in its order."""
        found = self.repositories[repo]
        return [found.commits[commit] for commit in found.history]

    @property
    def uploads(self) -> list[str]:
        """The SHA-256 of each blob that arrived whole, as often as it did."""
        stored = (asked for asked in self.log if asked.path.startswith("/store/") and asked.status == 200)
        return [asked.path.removeprefix("/store/").partition("?")[0] for asked in stored]

    def merge(self, repo: str, number: int) -> None:
        """What a person does with a pull request."""
        found = self.repositories[repo]
        found.requests[number - 1].status = "merged"
        found.set_branch("main", found.branches[f"refs/pr/{number}"])

    def create(self, repo: str, private: bool = False) -> Repository:
        made = self.repositories[repo] = Repository(private)
        made.commit("initial commit", {".gitattributes": ATTRIBUTES}, "main")
        return made

    def answer(self, method: str, path: str, body: bytes, authorization: str | None) -> Answer:
        address = urlsplit(path)
        query = {key: values[-1] for key, values in parse_qs(address.query).items()}
        with self._lock:
            try:
                for verb, pattern, act in ROUTES:
                    if verb == method and (found := re.fullmatch(pattern, address.path)):
                        parts = {key: unquote(value or "") for key, value in found.groupdict().items()}
                        return act(self, parts, query, body, self._role(authorization))
                raise Refusal(404, f"this stand-in has no {method} {address.path}")
            except Refusal as refusal:
                return replace(_json({"error": refusal.message}, refusal.status), headers=refusal.headers)

    def _role(self, authorization: str | None) -> str | None:
        if authorization is None:
            return None
        roles = {f"Bearer {self.token}": "write", f"Bearer {self.reader}": "read"}
        if authorization not in roles:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return roles[authorization]

    def _repository(self, repo: str, role: str | None, write: bool = False) -> Repository:
        found = self.repositories.get(repo)
        if found is None or (found.private and role is None):
            if role is None:
                raise Refusal(401, "Invalid username or password.", "RepoNotFound")
            raise Refusal(404, "Repository not found", "RepoNotFound")
        if found.gated and role is None and not write:
            raise Refusal(401, f"Access to model {repo} is restricted.", "GatedRepo")
        if write and role is None:
            raise Refusal(401, "Invalid username or password.")
        if write and (role != "write" or repo.split("/")[0] != self.user):
            raise Refusal(403, "You don't have the rights to create a commit or a tag here")
        return found

    def _find(self, repo: str, revision: str) -> Commit:
        found = self.repositories[repo]
        commit = found.branches.get(revision) or found.tags.get(revision) or revision
        if commit not in found.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found.commits[commit]


def _whoami(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    if role is None:
        raise Refusal(401, "Invalid username or password.")
    return _json({"type": "user", "name": hub.user, "auth": {"accessToken": {"role": role}}})


def _create(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    asked = json.loads(body)
    owner = asked.get("organization") or hub.user
    repo = f"{owner}/{asked['name']}"
    if role is None:
        raise Refusal(401, "Invalid username or password.")
    if role != "write" or owner != hub.user:
        raise Refusal(403, f"You don't have the rights to create a model under the namespace {owner}")
    if repo in hub.repositories:
        answer = {"error": "You already created this model repo", "url": f"{hub.endpoint}/{repo}"}
        return _json(answer, 409)
    hub.create(repo, asked.get("visibility") == "private")
    return _json({"url": f"{hub.endpoint}/{repo}", "name": repo})


def _validate_yaml(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    errors = list(metadata_errors(json.loads(body)["content"]))
    told = {"errors": [{"message": error} for error in errors], "warnings": []}
    return _json(told, 400 if errors else 200)


def metadata_errors(card: str) -> Iterator[str]:
    """What the Hub would not take of a card's metadata, as far as its documentation says."""
    if not (found := re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)):
        yield "empty or missing yaml metadata in repo card"
        return
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        yield f"invalid YAML: {error}"
        return
    bases = data.get("base_model") or []
    names = [*([bases] if isinstance(bases, str) else bases), *data.get("datasets", [])]
    for name in [*names, *filter(None, [data.get("new_version")])]:
        if not REPO_ID.fullmatch(name):
            yield f'"{name}" is no name of a repository'
    if data.get("base_model_relation", "finetune") not in ("finetune", "adapter", "merge", "quantized"):
        yield '"base_model_relation" must be one of finetune, adapter, merge, quantized'
    for language in data.get("language", []):
        if not re.fullmatch("[a-z]{2,3}", language):
            yield f'"language": "{language}" is no ISO 639 code'
    if (data.get("license") == "other") != ("license_name" in data):
        yield '"license_name" goes with license: other'
    for model in data.get("model-index", []):
        for result in model["results"]:
            if not (
                result["task"].get("type") and result["dataset"].get("type") and result["dataset"].get("name")
            ):
                yield "model-index: a result needs task.type, dataset.type and dataset.name"
            if not all(metric.get("type") and "value" in metric for metric in result["metrics"]):
                yield "model-index: a metric needs type and value"


def _info(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    found = hub._repository(parts["repo"], role)
    commit = hub._find(parts["repo"], parts.get("revision") or "main")
    told = {
        "_id": "0", "id": parts["repo"], "modelId": parts["repo"], "sha": commit.id, "private": found.private,
        "gated": found.gated, "tags": [], "siblings": [{"rfilename": path} for path in sorted(commit.tree)],
    }  # fmt: skip
    return _json(told)


def _settings(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    found = hub._repository(parts["repo"], role, write=True)
    asked = json.loads(body)
    found.gated = asked.get("gated", found.gated)
    found.private = asked.get("visibility", "private" if found.private else "public") == "private"
    return _json({"gated": found.gated, "private": found.private})


def _file(path: str, content: bytes) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _git_hash(content)}
    if _is_lfs(path, len(content)):
        pointer = _pointer(content)
        told["oid"] = _git_hash(pointer)
        digest = hashlib.sha256(content).hexdigest()
        told["lfs"] = {"oid": digest, "size": len(content), "pointerSize": len(pointer)}
    return told


def _tree(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    hub._repository(parts["repo"], role)
    tree = hub._find(parts["repo"], parts["revision"]).tree
    top = f"{parts['path']}/" if parts.get("path") else ""
    inside = {path: content for path, content in tree.items() if path.startswith(top)}
    if top and not inside:
        raise Refusal(404, f"{parts['path']} does not exist on this revision", "EntryNotFound")
    deep = query.get("recursive", "").lower() in ("true", "1")
    listed = [_file(path, content) for path, content in inside.items() if deep or "/" not in path[len(top) :]]
    folders = {top + path[len(top) :].split("/")[0] for path in inside if "/" in path[len(top) :]}
    listed += [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in folders]
    return _json(sorted(listed, key=lambda item: str(item["path"])))


def _paths_info(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    hub._repository(parts["repo"], role)
    tree = hub._find(parts["repo"], parts["revision"]).tree
    asked = parse_qs(body.decode())["paths"]
    return _json([_file(path, tree[path]) for path in asked if path in tree])


def _preupload(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    hub._repository(parts["repo"], role, write="create_pr" not in query)
    commit = hub._find(parts["repo"], parts["revision"])
    files = []
    for asked in json.loads(body)["files"]:
        path, is_lfs = asked["path"], _is_lfs(asked["path"], asked["size"])
        told = {"path": path, "uploadMode": "lfs" if is_lfs else "regular", "shouldIgnore": False}
        if (there := commit.tree.get(path)) is not None:
            told["oid"] = hashlib.sha256(there).hexdigest() if is_lfs else _git_hash(there)
        files.append(told)
    return _json({"files": files, "commitOid": commit.id})


def _lfs_batch(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    hub._repository(parts["repo"], role)
    if role is None:
        raise Refusal(401, "Invalid username or password.")
    objects = []
    for asked in json.loads(body)["objects"]:
        told = {"oid": asked["oid"], "size": asked["size"]}
        if asked["oid"] not in hub.blobs:
            # The Hub lets clients put blobs into a store of its own, whose addresses carry their permission.
            told["actions"] = {
                "upload": {"href": f"{hub.endpoint}/store/{asked['oid']}?X-Amz-Signature=abc", "header": {}},
                "verify": {"href": f"{hub.endpoint}/{parts['repo']}.git/info/lfs/objects/verify"},
            }
        objects.append(told)
    return _json({"transfer": "basic", "objects": objects})


def _store(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    if hashlib.sha256(body).hexdigest() != parts["oid"]:
        raise Refusal(400, "BadDigest")
    hub.blobs[parts["oid"]] = body
    return Answer(headers={"ETag": f'"{parts["oid"]}"'})


def _verify(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    asked = json.loads(body)
    if len(hub.blobs.get(asked["oid"], b"")) != asked["size"]:
        raise Refusal(404, "Object does not exist on the server")
    return _json({})


def _commit(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    asks = "create_pr" in query
    found = hub._repository(parts["repo"], role, write=not asks)
    if role is None:
        raise Refusal(401, "Invalid username or password.")
    base = hub._find(parts["repo"], parts["revision"])
    lines = [json.loads(line) for line in body.splitlines()]
    header = lines[0]["value"]
    if not asks and header.get("parentCommit") not in (None, base.id):
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    tree = _changed(hub, dict(base.tree), lines[1:])
    branch = parts["revision"]
    told: dict[str, Any] = {"success": True, "hookOutput": ""}
    if asks:
        request = PullRequest(len(found.requests) + 1, header["summary"])
        found.requests.append(request)
        branch = f"refs/pr/{request.number}"
        found.branches[branch] = base.id
        told["pullRequestUrl"] = f"{hub.endpoint}/{parts['repo']}/discussions/{request.number}"
    if branch not in found.branches:
        raise Refusal(404, f"{branch} is no branch", "RevisionNotFound")
    made = found.commit(header["summary"], tree, branch)
    told |= {"commitOid": made.id, "commitUrl": f"{hub.endpoint}/{parts['repo']}/commit/{made.id}"}
    return _json(told)


def _changed(hub: HubServer, tree: dict[str, bytes], operations: list[Any]) -> dict[str, bytes]:
    for operation in operations:
        key, value = operation["key"], operation["value"]
        path = value["path"]
        if key == "file":
            tree[path] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            if value["oid"] not in hub.blobs:
                raise Refusal(400, f"lfs object {value['oid']} is not there")
            tree[path] = hub.blobs[value["oid"]]
        elif key == "deletedFile":
            if tree.pop(path, None) is None:
                raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
        elif key == "deletedFolder":
            tree = {name: content for name, content in tree.items() if not name.startswith(f"{path}/")}
        else:
            raise Refusal(400, f"unknown operation {key}")
    return tree


def _refs(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    found = hub._repository(parts["repo"], role)

    def told(refs: dict[str, str], kind: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": to} for name, to in refs.items()]

    branches = {name: to for name, to in found.branches.items() if not name.startswith("refs/")}
    return _json({"branches": told(branches, "heads"), "converts": [], "tags": told(found.tags, "tags")})


def _add_tag(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    found = hub._repository(parts["repo"], role, write=True)
    tag, commit = json.loads(body)["tag"], hub._find(parts["repo"], parts["revision"])
    if tag in found.tags:
        raise Refusal(409, f"Tag reference exists already: {tag}")
    found.tags[tag] = commit.id
    return _json({})


def _delete_tag(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    found = hub._repository(parts["repo"], role, write=True)
    if found.tags.pop(parts["revision"], None) is None:
        raise Refusal(404, f"Invalid rev id: {parts['revision']}", "RevisionNotFound")
    return _json({})


def _discussions(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    found = hub._repository(parts["repo"], role)
    wanted = query.get("status", "all")
    listed = [
        {
            "num": request.number, "title": request.title, "status": request.status, "isPullRequest": True,
            "author": {"name": hub.user}, "createdAt": "2026-01-01T00:00:00.000Z",
            "repo": {"name": parts["repo"], "type": "model"},
        }
        for request in found.requests
        if wanted == "all" or (request.status == "open") == (wanted == "open")
    ]  # fmt: skip
    return _json({"discussions": listed, "count": len(listed), "start": 0})


def _discussion_status(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    found = hub._repository(parts["repo"], role, write=True)
    status = json.loads(body)["status"]
    found.requests[int(parts["number"]) - 1].status = status
    event = {
        "id": "0", "type": "status-change", "createdAt": "2026-01-01T00:00:00.000Z",
        "author": {"name": hub.user}, "data": {"status": status},
    }  # fmt: skip
    return _json({"newStatus": event})


def _resolve(hub: HubServer, parts: Any, query: Any, body: bytes, role: str | None) -> Answer:
    hub._repository(parts["repo"], role)
    commit = hub._find(parts["repo"], parts["revision"])
    if (content := commit.tree.get(parts["path"])) is None:
        raise Refusal(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": commit.id})
    told = _file(parts["path"], content)
    headers = {"X-Repo-Commit": commit.id, "ETag": f'"{told["oid"]}"', "Accept-Ranges": "bytes"}
    if "lfs" in told:
        headers |= {"X-Linked-Etag": f'"{told["lfs"]["oid"]}"', "X-Linked-Size": str(len(content))}
    return Answer(200, content, headers)


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_API = rf"/api/models/{_REPO}"
_REVISION = r"(?P<revision>[^/]+)"
Route = Callable[[HubServer, Any, Any, bytes, str | None], Answer]
ROUTES: list[tuple[str, str, Route]] = [
    ("GET", "/api/whoami-v2", _whoami),
    ("POST", "/api/repos/create", _create),
    ("POST", "/api/validate-yaml", _validate_yaml),
    ("GET", _API, _info),
    ("GET", rf"{_API}/revision/{_REVISION}", _info),
    ("PUT", rf"{_API}/settings", _settings),
    ("GET", rf"{_API}/tree/{_REVISION}(/(?P<path>.*))?", _tree),
    ("POST", rf"{_API}/paths-info/{_REVISION}", _paths_info),
    ("POST", rf"{_API}/preupload/{_REVISION}", _preupload),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", _lfs_batch),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/verify", _verify),
    ("PUT", r"/store/(?P<oid>[0-9a-f]{64})", _store),
    ("POST", rf"{_API}/commit/{_REVISION}", _commit),
    ("GET", rf"{_API}/refs", _refs),
    ("POST", rf"{_API}/tag/{_REVISION}", _add_tag),
    ("DELETE", rf"{_API}/tag/{_REVISION}", _delete_tag),
    ("GET", rf"{_API}/discussions", _discussions),
    ("POST", rf"{_API}/discussions/(?P<number>\d+)/status", _discussion_status),
    ("GET", rf"/{_REPO}/resolve/{_REVISION}/(?P<path>.*)", _resolve),
    ("HEAD", rf"/{_REPO}/resolve/{_REVISION}/(?P<path>.*)", _resolve),
]


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            with hub._lock:
                hub.connections += 1

        def finish(self) -> None:
            with hub._lock:
                hub.connections -= 1
            super().finish()

        def _answer(self) -> None:
            fault = self._fault()
            if fault and fault.after_bytes is not None:
                self._cut(len(self.rfile.read(fault.after_bytes)))
                return
            body = self._body()
            if fault and fault.status is None and not fault.answered:
                self._cut(len(body))
            elif fault and fault.status:
                self._send(body, replace(_json({"error": "a fault"}, fault.status), headers=fault.headers))
            else:
                answer = hub.answer(self.command, self.path, body, self.headers.get("Authorization"))
                if fault:
                    self._cut(len(body))
                else:
                    self._send(body, answer)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer

        def _fault(self) -> Fault | None:
            with hub._lock:
                for fault in hub.faults:
                    kind = re.fullmatch(fault.method, self.command) and re.search(fault.path, self.path)
                    if kind and fault.after:
                        fault.after -= 1
                    elif kind and fault.times:
                        fault.times -= 1
                        return fault
            return None

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _send(self, body: bytes, answer: Answer) -> None:
            self._note(Request(self.command, self.path, len(body), answer.status))
            content, start = answer.body, re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if start and answer.status == 200:
                answer.status, content = 206, content[int(start[1]) :]
                end = f"{len(answer.body) - 1}/{len(answer.body)}"
                answer.headers["Content-Range"] = f"bytes {start[1]}-{end}"
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _cut(self, arrived: int) -> None:
            self._note(Request(self.command, self.path, arrived, None))
            self.close_connection = True

        def _note(self, request: Request) -> None:
            hub.log.append(request)
            hub.watch(request)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler
