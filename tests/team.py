"""A Prefect server, a clone that runs the pipeline and clones of workers, all on this machine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

ROOT = Path(__file__).parents[1]
GPU = "99"
"""For CUDA_VISIBLE_DEVICES: a stage on a worker then holds a GPU's limit, whether or not there is one."""
GRAPH = """
stages:
  prepare: {cmd: sh hold.sh prepare; cp source prepared, deps: [source], outs: [prepared]}
  validate: {cmd: sh validate.sh, deps: [prepared, validate.sh], outs: [stamp]}
  train:
    cmd: sh train.sh
    deps: [prepared, stamp, train.sh]
    params: [toy/params.yaml: [rate]]
    outs: [model]
    metrics: [metrics.json: {cache: false}]
    meta: {worker: gpu, timeout_minutes: 5}
  package: {cmd: sh hold.sh package; cp model packaged, deps: [model], outs: [packaged]}
"""
FILES = {
    "dvc.yaml": GRAPH,
    "toy/params.yaml": "rate: 1\n",
    "source": "first\n",
    # A test may have a stage stand still at a named point, until it is killed or let go.
    "hold.sh": 'if [ "$(cat "$HOLD" 2>/dev/null)" = $1 ]; then sleep 600 & echo $! > "$HOLD.pid"; wait; fi\n',
    "validate.sh": (
        "sh hold.sh validate; "
        "grep -q '^bad' prepared && { echo 'parrot validate: prepared: bad' >&2; exit 1; }; echo > stamp"
    ),
    "train.sh": (
        'echo "trains at $(pwd)"; pwd >> "$TRAINED"; sh hold.sh train; head -c 3 prepared > model; '
        "sh hold.sh half; cp prepared model; echo '{\"loss\": 1}' > metrics.json; sh hold.sh made"
    ),
    ".gitignore": "/artifacts\n/.parrot\n/.prefect\n/mlflow.db\n/mlruns\n__pycache__\n"
    "/prepared\n/stamp\n/model\n/packaged\n",
}  # fmt: skip


def wait_for(what: Callable[[], Any], seconds: float, why: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, why
        time.sleep(0.5)
    return found


def let_go(hanging: psutil.Process) -> None:
    """Let a stage that stands still go on."""
    hanging.kill()


class Team:
    """Everything below one folder; commands run there as people would type them."""

    def __init__(self, folder: Path, clone: Path | None = None) -> None:
        """`clone`: the folder in which the pipeline runs."""
        self.folder = folder
        self.clone = clone or folder / "pipeline"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        """Servers and workers by name."""
        self.more: dict[str, str] = {}
        """Variables of every command."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.trained, self.hold = folder / "trained", folder / "hold"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop servers and workers, the workers first."""
        for name in reversed([*self.processes]):
            self.stop(name)

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
            **self.more,
        }
        environment.pop("PARROT_FLOW", None)
        return environment

    def run(self, *command: str, clone: Path | None = None) -> str:
        folder = clone or self.clone
        done = subprocess.run(
            command, cwd=folder, env=self.environment(folder), capture_output=True, text=True, timeout=3600
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout + done.stderr

    def start(self, name: str, *command: str, clone: Path | None = None) -> None:
        folder = clone or self.clone
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=folder, env=self.environment(folder), stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def make_clone(self, files: dict[str, str]) -> None:
        """A project of these files and the real code."""
        self.clone.mkdir()
        for name in ("parrot", "flows"):
            shutil.copytree(ROOT / name, self.clone / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("prefect.yaml", "prefect.toml"):
            shutil.copy(ROOT / name, self.clone / name)
        for name, text in files.items():
            (self.clone / name).parent.mkdir(exist_ok=True)
            (self.clone / name).write_text(text)

    def adopt_clone(self, ignored: str = "") -> None:
        """Share a project that is there, and that knew nothing of git.

        Args:
            ignored: more lines for .gitignore.
        """
        for name in (".gitignore", "prefect.yaml", "prefect.toml"):
            shutil.copy(ROOT / name, self.clone / name)
        with (self.clone / ".gitignore").open("a") as file:
            file.write(ignored)
        self.run("dvc", "config", "--unset", "core.no_scm")
        self.share()

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

    def serve(self) -> None:
        """Start the server, make pools and deployments; not the schedule, whose hour may come in a test."""
        self.start_server()
        for pool in ("local", "gpu"):
            self.run("prefect", "work-pool", "create", pool, "--type", "process")
        self.run("prefect", "--no-prompt", "deploy", "--all")
        self.run("prefect", "deployment", "schedule", "clear", "parrot/retrain", "--accept-yes")

    def serve_and_work(self, gpu: str) -> None:
        """The server, a worker of the pool `gpu` with this name, and `here`, which runs the pipeline."""
        self.serve()
        self.add_worker("gpu", gpu)
        self.add_worker("local", "here")

    def start_server(self) -> None:
        command = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        self.start("server", *command)
        wait_for(lambda: self.answers(self.api), 600, "the server does not answer")

    def start_mlflow(self) -> None:
        """At the address that `more` names."""
        address = self.more["MLFLOW_TRACKING_URI"]
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
        command += ["--port", address.rpartition(":")[2], "--backend-store-uri"]
        command += [f"sqlite:///{self.folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self.folder / "mlflow")]
        self.start("mlflow", *command)
        wait_for(lambda: self.answers(address), 600, "MLflow does not answer")

    def answers(self, address: str) -> bool:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def add_worker(self, pool: str, name: str) -> None:
        """A worker in a clone of its own; one of the pool `local` in the clone that runs the pipeline."""
        clone = self.clone if pool == "local" else self.folder / name
        if not clone.exists():
            self.run("git", "clone", "--quiet", str(self.clone), str(clone))
        command = ("prefect", "worker", "start", "--pool", pool, "--name", name, "--limit", "1")
        self.start(name, *command, clone=clone)

    def submit(self, deployment: str, *settings: str) -> UUID:
        """Fill in a deployment's form, with settings such as `force=true`; the run."""
        options = [part for setting in settings for part in ("--param", setting)]
        said = self.run("prefect", "deployment", "run", deployment, *options)
        (run,) = [line.split()[-1] for line in said.splitlines() if "UUID" in line]
        return UUID(run)

    def cancel(self, run: UUID) -> None:
        """What the button in the UI does."""
        with temporary_settings({PREFECT_API_URL: self.api}), self.client() as client:
            client.set_flow_run_state(run, Cancelling())

    @contextmanager
    def held_at(self, point: str) -> Iterator[Callable[[], psutil.Process]]:
        """Let what comes to this point of the pipeline stand still; gives the process that does."""
        pid = self.hold.with_name(f"{self.hold.name}.pid")
        pid.unlink(missing_ok=True)
        self.hold.write_text(point)

        def hanging() -> psutil.Process:
            text = wait_for(lambda: pid.exists() and pid.read_text().strip(), 600, f"nobody comes to {point}")
            self.hold.unlink()
            return psutil.Process(int(text))

        try:
            yield hanging
        finally:
            self.hold.unlink(missing_ok=True)

    def set_rate(self, rate: int) -> None:
        """What makes the training run again."""
        (self.clone / "toy/params.yaml").write_text(f"rate: {rate}\n")

    def state(self, run: UUID) -> Any:
        with temporary_settings({PREFECT_API_URL: self.api}), self.client() as client:
            return client.read_flow_run(run).state

    def client(self) -> SyncPrefectClient:
        return get_client(sync_client=True)

    def gpus_in_use(self) -> int:
        """Of those that `GPU` names: none or one."""
        name = f"gpu-{socket.gethostname()}-{GPU}"
        with temporary_settings({PREFECT_API_URL: self.api}), self.client() as client:
            return client.read_global_concurrency_limit_by_name(name).active_slots

    def leases(self) -> list[float]:
        """For how many seconds more each slot that somebody holds stays taken if nobody renews it."""
        files = (self.folder / "prefect/concurrency_leases").glob("????????-*.json")
        ends = [datetime.fromisoformat(json.loads(file.read_text())["expiration"]) for file in files]
        return [(end - datetime.now(UTC)).total_seconds() for end in ends]

    def log_of(self, run: Any) -> list[str]:
        with temporary_settings({PREFECT_API_URL: self.api}), self.client() as client:
            chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
            return [log.message for log in client.read_logs(chosen)]

    def runs(self) -> list[Any]:
        """Every flow run that has begun, the newest first: what a schedule will begin is not among them."""
        begun = FlowRunFilterState(type=FlowRunFilterStateType(not_any_=[StateType.SCHEDULED]))
        with temporary_settings({PREFECT_API_URL: self.api}), self.client() as client:
            found = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=begun))
            return sorted(found, key=lambda run: run.start_time or run.created, reverse=True)

    def stage_runs(self, stage: str = "train") -> list[Any]:
        """Those of a stage on workers, the newest first."""
        return [run for run in self.runs() if run.name == stage]

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
