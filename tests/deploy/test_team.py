"""A team's servers: the files are valid, and a back-up brings back what was lost."""

import base64
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from servers import Postgres, free_port, skip_without_postgres

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "deploy"
TEAM = DEPLOY / "team"
INSTALL = "pip install --editable '.[team-tests]'"
ADMIN = "a-password-of-the-test"


def test_compose_listens_on_loopback_and_pins_what_the_lock_pins() -> None:
    services = yaml.safe_load((TEAM / "compose.yaml").read_text())["services"]
    assert {"postgres", "store", "mlflow", "prefect"} <= set(services)
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("${PARROT_ADDRESS:-127.0.0.1}:") for port in ports)
    for name, service in services.items():
        assert "healthcheck" in service or service.get("restart") == "no", name
        image = service["image"]
        assert image.startswith("parrot-team") or (":" in image and not image.endswith(":latest")), image
    assert "requirements.lock" in (TEAM / "Dockerfile").read_text()  # so its versions are the lock's


@pytest.mark.parametrize("room", ["team", "workers"])
def test_compose_files_are_what_the_compose_specification_allows(room: str) -> None:
    pytest.importorskip("check_jsonschema", reason=INSTALL)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, DEPLOY / room / "compose.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kubernetes_knows_every_key_of_the_workers() -> None:
    kubernetes = pytest.importorskip("kubernetes_validate", reason=INSTALL)
    workers = yaml.safe_load((DEPLOY / "workers/kubernetes.yaml").read_text())
    kubernetes.validate(workers, kubernetes.latest_version(), strict=True)
    workers["spec"]["replica"] = 2
    with pytest.raises(kubernetes.ValidationError, match="replica"):
        kubernetes.validate(workers, kubernetes.latest_version(), strict=True)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"{url} does not answer: {log.read_text()}")


@contextmanager
def server(command: list[str], url: str, env: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_for(url, process, log)
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


def databases(port: int) -> Postgres:
    return Postgres("mlflow", "mlflow_auth", "prefect", port=port)


@contextmanager
def store(port: int, env: dict[str, str], folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with server(command, f"http://127.0.0.1:{port}/moto-api/", env, folder / "store.log"):
        subprocess.run([sys.executable, TEAM / "keep.py", "buckets"], env=env, check=True)
        yield


@contextmanager
def mlflow_server(port: int, env: dict[str, str], folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", "postgresql:///mlflow", "--artifacts-destination", "s3://mlflow"]
    command += ["--app-name", "basic-auth", "--workers", "1"]
    with server(command, f"http://127.0.0.1:{port}/health", env, folder / "mlflow.log"):
        yield


def mlflow_client(code: str, port: int, env: dict[str, str]) -> str:
    client = {**env, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    client |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}  # patient, as a clone need not be
    client |= {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": ADMIN}
    for secret in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):  # the server alone speaks to the store
        del client[secret]
    done = subprocess.run([sys.executable, "-c", code], env=client, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def variables(database: int, s3: int) -> dict[str, str]:
    env = os.environ | {"PGHOST": "127.0.0.1", "PGPORT": str(database), "PGUSER": "parrot"}
    env |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}", "AWS_DEFAULT_REGION": "us-east-1"}
    env |= {"MLFLOW_S3_ENDPOINT_URL": env["AWS_ENDPOINT_URL"]}
    return env | {"AWS_ACCESS_KEY_ID": "parrot", "AWS_SECRET_ACCESS_KEY": "of-the-test"}


@pytest.mark.slow
def test_restored_run_is_read_again(tmp_path: Path) -> None:
    skip_without_postgres("moto", "boto3", "psycopg2", "flask_wtf")
    database, s3, tracking = free_port(), free_port(), free_port()
    env = variables(database, s3)
    env |= {"MLFLOW_AUTH_CONFIG_PATH": str(TEAM / "mlflow_auth.ini"), "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN}
    env |= {"MLFLOW_FLASK_SERVER_SECRET_KEY": "of-the-test"}
    keep, kept = [sys.executable, str(TEAM / "keep.py")], str(tmp_path / "kept")

    with databases(database), store(s3, env, tmp_path):
        with mlflow_server(tracking, env, tmp_path):
            write = "import mlflow\nwith mlflow.start_run() as run:\n mlflow.log_metric('accuracy', 0.625)\n"
            write += " mlflow.log_text('a parrot', 'note.txt')\nprint(run.info.run_id)"
            run = mlflow_client(write, tracking, env)
            search = f"http://127.0.0.1:{tracking}/api/2.0/mlflow/experiments/get?experiment_id=0"
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(search)
            login = base64.b64encode(f"admin:{ADMIN}".encode()).decode()
            request = urllib.request.Request(search, headers={"Authorization": f"Basic {login}"})
            assert urllib.request.urlopen(request).status == 200
        subprocess.run([*keep, "backup", kept], env=env, check=True)
    # Both are destroyed with their folders and processes.
    with databases(database), store(s3, env, tmp_path):
        subprocess.run([*keep, "restore", kept], env=env, check=True)
        with mlflow_server(tracking, env, tmp_path):
            read = f"import mlflow\nrun = mlflow.get_run('{run}')\n"
            read += "print(run.data.metrics['accuracy'],"
            read += " mlflow.artifacts.load_text(run.info.artifact_uri + '/note.txt'))"
            assert mlflow_client(read, tracking, env) == "0.625 a parrot"
    assert ADMIN not in (tmp_path / "mlflow.log").read_text()


@contextmanager
def prefect_server(port: int, env: dict[str, str], folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with server(command, f"http://127.0.0.1:{port}/api/health", env, folder / "prefect.log"):
        yield


@pytest.mark.slow
def test_restored_work_pool_and_dvc_files_are_there_again(tmp_path: Path) -> None:
    skip_without_postgres("moto", "boto3", "asyncpg", "dvc_s3")
    database, s3, api = free_port(), free_port(), free_port()
    env = variables(database, s3) | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    env |= {"PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg:///prefect"}
    env |= {"PREFECT_SERVER_API_AUTH_STRING": f"team:{ADMIN}", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    client = env | {"PREFECT_API_URL": f"http://127.0.0.1:{api}/api"}
    signed_in = client | {"PREFECT_API_AUTH_STRING": f"team:{ADMIN}"}
    keep, kept = [sys.executable, str(TEAM / "keep.py")], str(tmp_path / "kept")
    clone = tmp_path / "clone"
    clone.mkdir()

    def call(
        module: str, *arguments: str, env: dict[str, str] = signed_in
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(command, env=env, cwd=clone, capture_output=True, text=True)

    def done(module: str, *arguments: str) -> str:
        finished = call(module, *arguments)
        assert finished.returncode == 0, finished.stderr + finished.stdout
        return finished.stdout

    done("dvc", "init", "--no-scm")
    done("dvc", "remote", "add", "--default", "team", "s3://dvc")
    done("dvc", "remote", "modify", "team", "endpointurl", env["AWS_ENDPOINT_URL"])
    (clone / "weights").write_bytes(b"a parrot")
    done("dvc", "add", "weights")
    with databases(database), store(s3, env, tmp_path):
        with prefect_server(api, env, tmp_path):
            assert call("prefect", "work-pool", "ls", env=client).returncode != 0  # nobody without a password
            done("prefect", "work-pool", "create", "gpu", "--type", "process")
        done("dvc", "push")
        subprocess.run([*keep, "backup", kept], env=env, check=True)
    shutil.rmtree(clone / ".dvc/cache")
    (clone / "weights").unlink()
    with databases(database), store(s3, env, tmp_path):
        subprocess.run([*keep, "restore", kept], env=env, check=True)
        with prefect_server(api, env, tmp_path):
            assert "gpu" in done("prefect", "work-pool", "ls")
        done("dvc", "pull")
    assert (clone / "weights").read_bytes() == b"a parrot"
    assert ADMIN not in (tmp_path / "prefect.log").read_text()
