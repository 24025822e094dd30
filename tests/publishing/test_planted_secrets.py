"""A secret in every place where one can be given, real commands, and all that they say and leave behind."""

import base64
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
import yaml
from hub_server import HubServer
from released_project import graph
from trained_models import make_trained
from written_evaluations import right_in, write_evaluation

ROOT = Path(__file__).parents[2]
REPO = "someone/parrot"
PARROT = (sys.executable, "-c", "from parrot.cli import main; main()")
FLOW = (sys.executable, "-m", "flows.pipeline")
PACKAGE = (
    "parrot package --model artifacts/sft --evaluation made/evaluate.json --mixtures made/mix "
    "--trainings made --validated made/validated --output artifacts/package"
)

PLACES = (
    "HF_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_URI?token=",
    "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "PREFECT_API_URL", "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING", "PREFECT_API_DATABASE_CONNECTION_URL", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN", "http_proxy", "git remote", "dvc remote: password", "dvc remote: url",
    "params.yaml: a source's path", "params.yaml: a source's origin", "a webhook", "a form's override",
)  # fmt: skip
pytestmark = pytest.mark.slow
FORM = PLACES[-1]
VARIABLES = (
    "HF_TOKEN", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "PREFECT_API_KEY",
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
)  # fmt: skip
SECRETS = {place: f"Hush{number:02}Hush{number:02}" for number, place in enumerate(PLACES)}
USER = {place: f"me:{secret}" for place, secret in SECRETS.items()}


@dataclass
class World:
    """A project on this machine, a Hub, and what commands have said."""

    folder: Path
    hub: HubServer
    said: dict[str, str] = field(default_factory=dict)
    listened: set[str] = field(default_factory=set)

    def run(self, name: str, *command: str, fails: bool = False, **environment: str) -> str:
        """As a person types it, with all secrets in the environment that can be there together."""
        clean = {key: value for key, value in os.environ.items() if not _named_in_tests(key)}
        bin_folder = str(Path(sys.executable).parent)
        planted = {
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": self.hub.endpoint, "HF_HOME": str(self.folder / "hf"), "HF_HUB_DISABLE_XET": "1",
            "DVC_NO_ANALYTICS": "1",
            "MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "PREFECT_API_AUTH_STRING": USER["PREFECT_API_AUTH_STRING"],
            "PREFECT_SERVER_API_AUTH_STRING": USER["PREFECT_API_AUTH_STRING"],
            **{f"{scheme}_proxy": f"http://{USER['http_proxy']}@127.0.0.1:9" for scheme in ("http", "https")},
            **{name: SECRETS[name] for name in VARIABLES},
        }  # fmt: skip
        process = subprocess.Popen(
            command, cwd=self.folder, env=clean | planted | environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        watching = threading.Thread(target=self._watch, args=(psutil.Process(process.pid),))
        watching.start()
        self.said[name], _ = process.communicate()
        watching.join()
        assert (process.returncode != 0) == fails, f"{name}: {process.returncode}\n{self.said[name]}"
        return self.said[name]

    def _watch(self, process: psutil.Process) -> None:
        """Where the command and all that it has started listen."""
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            try:
                for one in (process, *process.children(recursive=True)):
                    self.listened |= {
                        found.laddr.ip
                        for found in one.net_connections("inet")
                        if found.status == psutil.CONN_LISTEN
                    }
            except psutil.Error:  # it has ended meanwhile
                pass
            threading.Event().wait(0.1)

    def left(self) -> dict[str, bytes]:
        """Every file that has come to be, by its path; of Prefect's database what it holds."""
        files = {
            str(file.relative_to(self.folder)): file.read_bytes()
            for file in self.folder.rglob("*")
            if file.is_file() and not file.is_symlink() and not file.name.startswith("prefect.db")
        }
        with closing(sqlite3.connect(self.folder / ".prefect/prefect.db")) as database:
            files["prefect.db"] = "\n".join(database.iterdump()).encode()
        on_hub = {f"{REPO}/{path}": content for path, content in self.hub.files(REPO).items()}
        planted = (".git/config", ".dvc/config.local", "token")
        return {path: content for path, content in (files | on_hub).items() if path not in planted}


def _named_in_tests(variable: str) -> bool:
    return (
        variable.startswith(("MLFLOW_", "PREFECT_", "HF_", "AWS_", "PARROT_", "DVC_"))
        or "proxy" in variable.lower()
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("planted")
    with HubServer() as hub:
        hub.token = SECRETS["HF_TOKEN"]
        made = World(folder, hub)
        _make_project(made)
        _run_all(made)
        yield made


def _make_project(world: World) -> None:
    folder = world.folder
    trained = make_trained(folder / "made")
    (folder / "data/mmmb").mkdir(parents=True)
    shutil.move(trained / "mmmb", folder / "data/mmmb/test")
    write_evaluation(folder / "made/evaluation", right_in(0.7, 1), weights="w")
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(re.sub(r"(?m)^  repo_id:", f"  repo_id: {REPO}", params))
    shutil.copy(ROOT / "LICENSE", folder)
    shutil.copy(ROOT / "prefect.toml", folder)
    (folder / "artifacts").mkdir()
    (folder / "dvc.yaml").write_text(graph(PACKAGE))
    (folder / ".gitignore").write_text("/mlflow.db\n/mlruns\n/.prefect\n/hf\n/token\n/.parrot\n")
    (folder / "token").write_text(SECRETS["HF_TOKEN_PATH"])
    dvc = (sys.executable, "-m", "dvc")
    for number, command in enumerate(
        [
            ("git", "init", "-q"),
            ("git", "remote", "add", "origin", f"https://oauth2:{SECRETS['git remote']}@example.org/a/b.git"),
            (*dvc, "init", "-q"),
            (*dvc, "add", "-q", "data"),
            (
                *dvc,
                "remote",
                "add",
                "--local",
                "-d",
                "team",
                f"http://{USER['dvc remote: url']}@127.0.0.1:9/dvc",
            ),
            (*dvc, "remote", "modify", "--local", "team", "user", "me"),
            (*dvc, "remote", "modify", "--local", "team", "password", SECRETS["dvc remote: password"]),
            ("git", "add", "--all"),
            ("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "begin"),
        ]
    ):
        world.run(f"set-up {number}", *command)


def _run_all(world: World) -> None:
    flow = world.run("flow", *FLOW)
    assert "published" in flow and world.hub.files(REPO)["README.md"]
    world.run("publish", *PARROT, "publish")
    world.run("lineage", *PARROT, "lineage", "artifacts/package")
    script = str(ROOT / "deploy/automations.py")
    webhook = f"https://example.org/{SECRETS['a webhook']}"
    assert "data are refused" in world.run("webhook", sys.executable, script, "--webhook", webhook)
    form = "import sys; from flows.pipeline import pipeline; pipeline(overrides=sys.argv[1:])"
    limits = f"package.limits=https://{USER[FORM]}@example.org"
    assert "holds a password" in world.run("form", sys.executable, "-c", form, limits, fails=True)

    port = world.hub.endpoint.rpartition(":")[2]
    for name, address in (
        ("MLFLOW_TRACKING_URI", f"http://{USER['MLFLOW_TRACKING_URI']}@127.0.0.1:{port}"),
        (
            "MLFLOW_TRACKING_URI?token=",
            f"http://127.0.0.1:{port}/?token={SECRETS['MLFLOW_TRACKING_URI?token=']}",
        ),
    ):
        assert "registry of models says" in world.run(
            name, *PARROT, "gate", fails=True, MLFLOW_TRACKING_URI=address
        )
    stage = (*PARROT, "prepare", "--source", "captions", "--output", "new", "--metrics", "new.json")
    assert "does not take values" in world.run("a stage", *stage, fails=True, MLFLOW_TRACKING_URI=address)
    back = (*PARROT, "rollback", "1")
    file = {"HF_TOKEN": "", "HF_TOKEN_PATH": str(world.folder / "token")}
    assert "(401)" in world.run("HF_TOKEN_PATH", *back, fails=True, **file)
    at = f"http://{USER['HF_ENDPOINT']}@127.0.0.1:{port}"
    assert "does not know who asks" in world.run("HF_ENDPOINT", *back, fails=True, HF_ENDPOINT=at)
    backbone = (*PARROT, "backbone", "someone/tower", "--revision", "1" * 40, "--output", "new")
    world.run("http_proxy", *backbone, fails=True, HF_ENDPOINT="http://hub.example.org")
    url = f"http://{USER['PREFECT_API_URL']}@127.0.0.1:9/api"
    assert "no Prefect server answers" in world.run("PREFECT_API_URL", *FLOW, fails=True, PREFECT_API_URL=url)
    database = "PREFECT_API_DATABASE_CONNECTION_URL"
    url = f"postgresql+asyncpg://{USER[database]}@127.0.0.1:9/prefect"
    assert "does not start" in world.run(database, *FLOW, fails=True, **{database: url})
    travel = (sys.executable, "-m", "parrot.pipeline.travel", "send", "package")
    world.run("dvc remote", *travel, fails=True)

    params = world.folder / "params.yaml"
    before = params.read_text(encoding="utf-8")
    for place in ("path", "origin"):
        user = USER[f"params.yaml: a source's {place}"]
        address = f"http://{user}@127.0.0.1:9/{{language}}.json"
        tree = yaml.safe_load(before)
        tree["sources"]["captions"][place] = address if place == "path" else {"url": address}
        params.write_text(yaml.safe_dump(tree), encoding="utf-8")
        assert "holds a password" in world.run(f"{place} in params.yaml", *stage, fails=True)
        assert "holds a password" in world.run(
            f"{place}, data", *PARROT, "data", "get", "captions", fails=True
        )
    params.write_text(before, encoding="utf-8")


def _forms(secret: str) -> set[bytes]:
    """As it is, as an address has it, and as HTTP sends it."""
    basic = (base64.b64encode(f"{user}:{secret}".encode()) for user in ("me", "oauth2", "token"))
    return {secret.encode(), quote(secret).encode(), *basic}


@pytest.mark.parametrize("place", PLACES)
def test_a_planted_secret_is_found_nowhere(place: str, world: World) -> None:
    said = {f"what {name} said": text.encode() for name, text in world.said.items()}
    found = [
        name
        for name, content in (said | world.left()).items()
        if any(form in content for form in _forms(SECRETS[place]))
    ]
    assert not found


def test_nothing_listens_beyond_this_machine(world: World) -> None:
    assert world.listened and world.listened <= {"127.0.0.1", "::1"}
