"""A password in an address opens the server, and is found nowhere afterwards."""

import base64
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from parrot.errors import ParrotError
from parrot.tracking import ensure_store, track_pipeline, track_stage
from parrot.tracking.store import check_store, connect, store_uri

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("project")


class Server(http.server.ThreadingHTTPServer):
    """Refuses everything but /health, with a page that repeats what it was asked."""

    seen: set[str | None]


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization")
            if self.path != "/health":
                found.seen.add(given)
            self.send_response(200 if self.path == "/health" else 403)
            self.end_headers()
            self.wfile.write(f"not for {given} at http://{self.headers['Host']}{self.path}".encode())

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as found:
        found.seen = set()
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("me:hush-hush@", "", basic("me:hush-hush")),
        ("me:hush@hu/sh@", "", basic("me:hush@hu/sh")),
        ("me:hush%40hu%2Fsh@", "/", basic("me:hush@hu/sh")),
        ("", "/?token=hush-hush", "Bearer hush-hush"),
    ],
)
def test_a_password_in_the_address_is_used_and_never_shown(
    before: str,
    after: str,
    expected: str,
    server: Server,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{before}127.0.0.1:{server.server_port}{after}")
    with track_stage("align", {"seed": 1}):
        pass
    assert server.seen == {expected}
    with pytest.raises(ParrotError) as raised, track_pipeline():
        raise AssertionError("the pipeline must not run")
    shown = "".join(capfd.readouterr()) + str(raised.value)
    assert "does not take values" in shown
    kept = "".join(file.read_text() for file in (project / "mlruns" / "unsent").rglob("*.json"))
    for secret in ("hush", expected.split()[1]):
        assert secret not in shown + kept


@pytest.mark.parametrize("address", ["http://me:hush@127.0.0.1:9", "http://me:hu/hush@127.0.0.1:9",
                                     "http://127.0.0.1:9/?token=hush", "http://me:hush@no host"])  # fmt: skip
def test_an_absent_server_is_named_without_its_password(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(ParrotError, match="no MLflow server answers") as raised:
        check_store()
    assert "hush" not in str(raised.value)


def test_a_password_of_a_database_is_encoded_as_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.engine import make_url

    for given in ("postgresql://me:p@ss/w@host/db", "postgresql://me:p%40ss%2Fw@host/db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
        url = make_url(store_uri())
        assert (url.username, url.password, url.host, url.database) == ("me", "p@ss/w", "host", "db")


def test_planted_secrets_reach_neither_the_database_nor_the_screen(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hush-of-the-environment")
    address = "https://me:hush@hu/sh@store.example.org/bucket"
    params = {
        "sft": {"access_key": "hush", "auth": {"bearer": "hush"}, "hub_tokens": ["hush"]},
        "remote": address,
        "deep": [[{"password": "hush"}]],
        "innocent": "hf_hushhushhushhushhushhushhush",
    }
    error = ParrotError(f"{address}: refused, password=hush, hush-of-the-environment")
    for raised in (error, ValueError(str({"api_key": "hush"}), address)):
        with pytest.raises(type(raised)), track_stage("align", params) as run:
            run.set_tags({"remote": address})
            raise raised
    ensure_store()
    database = b"".join(file.read_bytes() for file in project.glob("mlflow.db*"))
    assert b"store.example.org/bucket" in database
    assert b"hush" not in database
    assert "hush" not in "".join(capfd.readouterr()) + str(error)


def test_a_secret_among_the_parameters_is_refused_and_in_no_file(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (project / "params.yaml").read_text()
    written = text.replace("  name: parrot-demo", "  name: hf_hushhushhushhushhushhushhush")
    assert written != text
    (project / "params.yaml").write_text(written)
    with pytest.raises(ParrotError, match=r"params\.yaml: package\.name: holds a password"), track_pipeline():
        raise AssertionError("the pipeline must not run")
    files = [file for file in (project / "mlruns").rglob("*") if file.is_file()]
    assert not [file for file in [*files, project / "mlflow.db"] if b"hush" in file.read_bytes()]
    assert "hush" not in "".join(capfd.readouterr())


def test_parameters_that_the_schema_refuses_are_logged_nowhere(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Stranger keys may hold anything."""
    with (project / "params.yaml").open("a") as file:
        file.write("\nnotes: {mine: hush-hush}\n")
    with pytest.raises(ParrotError, match=r"params\.yaml: notes: unknown key"), track_pipeline():
        raise AssertionError("the pipeline must not run")
    with track_stage("prepare", {}):
        pass
    client, experiment = connect()
    assert [run.info.run_name for run in client.search_runs([experiment])] == ["prepare"]
    assert b"hush-hush" not in (project / "mlflow.db").read_bytes()
    assert "hush-hush" not in "".join(capfd.readouterr())


def test_an_absent_prefect_server_is_named_without_its_password() -> None:
    environment = os.environ | {"PREFECT_API_URL": "http://me:hu/hush@127.0.0.1:9/api"}
    command = [sys.executable, "-m", "flows.pipeline"]
    done = subprocess.run(
        command, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "no Prefect server answers at http://127.0.0.1:9/api" in done.stderr
    assert "hush" not in done.stdout + done.stderr
