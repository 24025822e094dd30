"""A Prefect server, a clone that runs the pipeline and clones of workers, all on this machine."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.settings import PREFECT_API_URL, temporary_settings

ROOT = Path(__file__).parents[1]
GRAPH = """
stages:
  prepare: {cmd: cp source prepared, deps: [source], outs: [prepared]}
  validate: {cmd: sh validate.sh, deps: [prepared, validate.sh], outs: [stamp]}
  train:
    cmd: sh train.sh
    deps: [prepared, stamp, train.sh]
    params: [toy/params.yaml: [rate]]
    outs: [model]
    metrics: [metrics.json: {cache: false}]
    meta: {worker: gpu, timeout_minutes: 5}
  package: {cmd: cp model packaged, deps: [model], outs: [packaged]}
"""
FILES = {
    "dvc.yaml": GRAPH,
    "toy/params.yaml": "rate: 1\n",
    "source": "first\n",
    "validate.sh": (
        "grep -q '^bad' prepared && { echo 'parrot validate: prepared: bad' >&2; exit 1; }; echo > stamp"
    ),
    "train.sh": (
        'echo "trains at $(pwd)"; pwd >> "$TRAINED"; '
        "if [ -e \"$HOLD\" ]; then sleep 600 & echo $! > \"$HOLD.pid\"; wait; fi; "
        "cp prepared model; echo '{\"loss\": 1}' > metrics.json"
    ),
    ".gitignore": "/artifacts\n/.parrot\n/.prefect\n/mlflow.db\n/mlruns\n__pycache__\n"
    "/prepared\n/stamp\n/model\n/packaged\n",
}  # fmt: skip


def wait_for(what: Callable[[], Any], seconds: float, why: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, why
        time.sleep(0.2)
    return found


class Team:
    """Everything below one folder; commands run there as people would type them."""

    def __init__(self, folder: Path, clone: Path | None = None) -> None:
        """`clone`: the folder in which the pipeline runs."""
        self.folder = folder
        self.clone = clone or folder / "pipeline"
        self.workers: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.trained, self.hold = folder / "trained", folder / "hold"

    def environment(self, clone: Path) -> dict[str, str]:
        bin_folder = str(Path(sys.executable).parent)
        environment = os.environ | {
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(clone),
            "PARROT_CLONE": str(clone),
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "DVC_NO_ANALYTICS": "1",
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}",
            "TRAINED": str(self.trained),
            "HOLD": str(self.hold),
            **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        environment.pop("PARROT_FLOW", None)
        return environment

    def run(self, *command: str, clone: Path | None = None) -> str:
        folder = clone or self.clone
        done = subprocess.run(
            command, cwd=folder, env=self.environment(folder), capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout + done.stderr

    def start(self, name: str, *command: str, clone: Path | None = None) -> subprocess.Popen[bytes]:
        folder = clone or self.clone
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command, cwd=folder, env=self.environment(folder), stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def make_clone(self, files: dict[str, str]) -> None:
        """A project of these files and the real code."""
        self.clone.mkdir()
        for name in ("parrot", "flows"):
            shutil.copytree(ROOT / name, self.clone / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "prefect.yaml", self.clone)
        for name, text in files.items():
            (self.clone / name).parent.mkdir(exist_ok=True)
            (self.clone / name).write_text(text)

    def share(self) -> None:
        """Make it a repository of git, with a remote of DVC beside it."""
        self.run("git", "init", "--quiet")
        if not (self.clone / ".dvc").exists():
            self.run("dvc", "init", "--quiet")
        self.run("dvc", "remote", "add", "--default", "shared", str(self.folder / "remote"))
        self.commit()

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "all")

    def serve(self) -> subprocess.Popen[bytes]:
        """Start the server, make the pools and deployments."""
        server = self.start(
            "server", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)
        )
        wait_for(self.answers, 180, "the server does not answer")
        for pool in ("local", "gpu"):
            self.run("prefect", "work-pool", "create", pool, "--type", "process")
        self.run("prefect", "--no-prompt", "deploy", "--all")
        return server

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def add_worker(self, pool: str, name: str) -> subprocess.Popen[bytes]:
        """A worker in a clone of its own; one of the pool `local` in the clone that runs the pipeline."""
        clone = self.clone if pool == "local" else self.folder / name
        if not clone.exists():
            self.run("git", "clone", "--quiet", str(self.clone), str(clone))
        command = ["prefect", "worker", "start", "--pool", pool, "--name", name, "--limit", "1"]
        worker = self.start(name, *command, clone=clone)
        self.workers.append(worker)
        return worker

    def submit(self, deployment: str, *settings: str) -> UUID:
        """Fill in a deployment's form, with settings such as `force=true`; the run."""
        options = [part for setting in settings for part in ("--param", setting)]
        said = self.run("prefect", "deployment", "run", deployment, *options)
        (run,) = [line.split()[-1] for line in said.splitlines() if "UUID" in line]
        return UUID(run)

    def state(self, run: UUID) -> Any:
        with temporary_settings({PREFECT_API_URL: self.api}), self.client() as client:
            return client.read_flow_run(run).state

    def client(self) -> SyncPrefectClient:
        return get_client(sync_client=True)

    def log_of(self, run: Any) -> list[str]:
        with temporary_settings({PREFECT_API_URL: self.api}), self.client() as client:
            chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
            return [log.message for log in client.read_logs(chosen)]

    def runs(self) -> list[Any]:
        """Every flow run, the newest first."""
        with temporary_settings({PREFECT_API_URL: self.api}), self.client() as client:
            return sorted(client.read_flow_runs(), key=lambda run: run.created, reverse=True)

    def stop(self, *processes: subprocess.Popen[bytes]) -> None:
        for process in processes:
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(20)
            except ProcessLookupError:
                pass
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)
