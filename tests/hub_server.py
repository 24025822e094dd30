"""A stand-in for the Hub on this machine: it answers what huggingface_hub asks to publish and to download.

    with HubServer() as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)  # or HF_ENDPOINT and HF_TOKEN of a new process
        …
        hub.files("someone/model", "v1")["README.md"]
        hub.uploads, hub.log

Files are stored as LFS or not, as `hub_repositories.STORED_AS_LFS` says, and not as Xet: a client needs
HF_HUB_DISABLE_XET=1, or `without_xet(monkeypatch)` in this process. Data sets, spaces and everything else
that is no model are not there. All is in memory.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import huggingface_hub.constants
import pytest
from hub_repositories import ATTRIBUTES, Answer, Commit, Refusal, Repository, as_json
from hub_routes import ROUTES


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
        tree = self.find(repo, revision).tree
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
                return replace(as_json({"error": refusal.message}, refusal.status), headers=refusal.headers)

    def _role(self, authorization: str | None) -> str | None:
        if authorization is None:
            return None
        roles = {f"Bearer {self.token}": "write", f"Bearer {self.reader}": "read"}
        if authorization not in roles:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return roles[authorization]

    def repository(self, repo: str, role: str | None, write: bool = False) -> Repository:
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

    def find(self, repo: str, revision: str) -> Commit:
        found = self.repositories[repo]
        commit = found.branches.get(revision) or found.tags.get(revision) or revision
        if commit not in found.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found.commits[commit]


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
                self._send(body, replace(as_json({"error": "a fault"}, fault.status), headers=fault.headers))
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
