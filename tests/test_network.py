"""Clients of three libraries, a server on this machine, and proxies that are of no use."""

import http.server
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import requests

from parrot.network import LOCAL, reach_local_directly

ROOT = Path(__file__).parents[1]


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server that says yes to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_port
        running.shutdown()


@pytest.fixture(params=["closed", "black hole"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The only proxy that the environment names: nobody listens, or somebody never answers."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "black hole":
            listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("http_proxy", url)
        for name in ("HTTP_PROXY", "no_proxy", "NO_PROXY"):  # so that what is set is taken back
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        yield url


def test_what_is_local_is_reached_past_a_proxy(server: int, proxy: str) -> None:
    urls = [f"http://{name}:{server}/health" for name in ("127.0.0.1", "localhost")]
    with pytest.raises(httpx.HTTPError):
        httpx.get(urls[0], timeout=1)
    reach_local_directly()
    for url in urls:
        assert httpx.get(url, timeout=10).status_code == 204
        assert requests.get(url, timeout=10).status_code == 204
        opener = urllib.request.build_opener()
        assert opener.open(url, timeout=10).status == 204
    with pytest.raises(httpx.HTTPError):
        httpx.get("http://192.0.2.1/", timeout=1)
    assert os.environ["http_proxy"] == proxy, "what is elsewhere still goes through it"


@pytest.mark.parametrize(
    ("given", "spared"),
    [
        ({}, LOCAL),
        ({"no_proxy": "corp.example, localhost"}, ("corp.example", "localhost", "127.0.0.1", "::1")),
        ({"NO_PROXY": "corp.example"}, ("corp.example", *LOCAL)),
        ({"no_proxy": "*"}, ("*",)),
    ],
)
@pytest.mark.usefixtures("proxy")
def test_what_was_spared_before_still_is(
    given: dict[str, str], spared: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    reach_local_directly()
    reach_local_directly()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == ",".join(spared)


def test_without_a_proxy_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parrot.network.getproxies", dict)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    reach_local_directly()
    assert "no_proxy" not in os.environ


def test_proxies_of_the_systems_settings_stay_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS has them, where no variable names one."""
    for name in ("http_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr("parrot.network.getproxies", lambda: {"http": "http://corp.example:3128"})
    reach_local_directly()
    assert os.environ["http_proxy"] == "http://corp.example:3128"
    assert os.environ["no_proxy"] == ",".join(LOCAL)


@pytest.mark.parametrize("package", ["flows", "parrot.tracking"])
@pytest.mark.usefixtures("proxy")
def test_importing_is_enough(package: str) -> None:
    program = f"import os, {package}; print(os.environ['no_proxy'])"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    shown = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == ",".join(LOCAL)
