"""A publisher on this machine: serves files with ranges, and a data set as the Hub does; may break off."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

COMMITS = ("a" * 40, "b" * 40)


class Publisher(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        """Below `/files/`, and in the data set `them/it` at every commit."""
        self.newest = COMMITS[0]
        self.break_off_after: int | None = None
        self.has_marks = True
        self.asked: list[tuple[str, str | None]] = []
        """Method and path, and the range."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def sent_bytes(self, name: str) -> list[str | None]:
        """The ranges asked for of a file, one an answer."""
        return [wanted for line, wanted in self.asked if line.startswith("GET") and line.endswith(name)]


class _Handler(BaseHTTPRequestHandler):
    server: Publisher

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        self.server.asked.append((f"{self.command} {path}", self.headers.get("Range")))
        if path in ("/api/datasets/them/it", f"/api/datasets/them/it/revision/{self.server.newest}"):
            files = [{"rfilename": name} for name in self.server.files]
            self._json({"id": "them/it", "sha": self.server.newest, "siblings": files})
        elif re.fullmatch("/api/datasets/them/it/tree/[ab]{40}", path):
            files = self.server.files.items()
            self._json(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": _mark(content)}
                    for name, content in files
                ]
            )
        elif found := re.fullmatch("/files/(.*)|/datasets/them/it/resolve/([ab]{40})/(.*)", path):
            name = found[1] or found[3]
            if name in self.server.files:
                self._file(self.server.files[name], found[2])
            else:
                self.send_error(404)
        else:
            self.send_error(404)

    def _json(self, tree: object) -> None:
        content = json.dumps(tree).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _file(self, content: bytes, commit: str | None) -> None:
        mark = f'"{_mark(content)}"'
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        fits = self.headers.get("If-Range") in (None, mark)
        start = int(wanted[1]) if wanted and fits else 0
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.has_marks:
            self.send_header("ETag", mark)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "GET":
            end = self.server.break_off_after
            self.wfile.write(content[start : None if end is None else start + end])
            self.server.break_off_after = None

    def log_message(self, format: str, *args: object) -> None:
        pass


def _mark(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def publisher() -> Iterator[Publisher]:
    server = Publisher()
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
