"""That prefect.yaml and the examples of deploy/ say what Prefect, Docker, Kubernetes and Slurm take."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import Settings

ROOT = Path(__file__).parents[2]
WORKERS = ROOT / "deploy/workers"
DEPLOYED = yaml.safe_load((ROOT / "prefect.yaml").read_text())
START = r"prefect worker start .*--pool gpu.*"


@pytest.mark.parametrize("deployment", DEPLOYED["deployments"], ids=lambda deployment: deployment["name"])
def test_each_deployments_flow_takes_its_parameters(
    deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    required = {"stage": "sft", "commit": "1" * 40} if deployment["name"] == "stage" else {}
    assert flow.validate_parameters({**required, **deployment.get("parameters", {})})
    (environment,) = deployment["work_pool"]["job_variables"].values()
    known = {name.upper() for name in Settings.model_fields}
    assert all(name.removeprefix("PREFECT_").split("_")[0] in known for name in environment)


def test_prefect_reads_the_file() -> None:
    model = PrefectYamlModel.model_validate(DEPLOYED)
    assert [deployment.name for deployment in model.deployments] == ["retrain", "manual", "evaluate", "stage"]
    limits = [deployment.concurrency_limit for deployment in model.deployments]
    assert [limit and limit.limit for limit in limits] == [1, 1, 1, None]


def test_marked_stages_go_to_the_pool_that_is_deployed() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    pools = {
        name: stage["meta"]["worker"] for name, stage in stages.items() if "worker" in stage.get("meta", {})
    }
    assert pools == dict.fromkeys(("align", "sft", "predict"), "gpu")
    deployed = {deployment["name"]: deployment["work_pool"]["name"] for deployment in DEPLOYED["deployments"]}
    assert set(pools.values()) == {deployed["stage"]}


def test_workers_for_docker_and_kubernetes_have_what_their_start_needs() -> None:
    start = (WORKERS / "start.sh").read_text()
    assert re.search(START, start)
    needed = set(re.findall(r"\b(?:PREFECT|PARROT|MLFLOW)_[A-Z_]+", start))
    (service,) = yaml.safe_load((WORKERS / "compose.yaml").read_text())["services"].values()
    assert needed <= set(service["environment"])
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    text = (WORKERS / "kubernetes.yaml").read_text()
    stateful = yaml.safe_load(text)
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    claims = {claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]}
    volumes = {volume["name"] for volume in stateful["spec"]["template"]["spec"]["volumes"]}
    assert mounts == claims | volumes
    labels = stateful["spec"]["template"]["metadata"]["labels"]
    assert stateful["spec"]["selector"]["matchLabels"] == labels
    assert needed <= set(re.findall(r"[A-Z_]{6,}", text))


def test_the_scripts_are_scripts() -> None:
    for script in ("start.sh", "slurm.sh"):
        subprocess.run(["bash", "-n", str(WORKERS / script)], check=True)
    lines = (WORKERS / "slurm.sh").read_text().splitlines()
    options = [shlex.split(line)[1] for line in lines if line.startswith("#SBATCH")]
    assert {"--gres=gpu:1", "--signal=B:TERM@60"} <= set(options)
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(not line.startswith("#SBATCH") for line in lines[first_command:]), "Slurm reads no further"
    assert any(re.match(START, line) for line in lines)


def test_a_slurm_job_that_is_queued_again_makes_its_clone_anew_and_ends_its_worker(tmp_path: Path) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").write_text(f"PATH={tmp_path}:$PATH")
    worker = tmp_path / "prefect"
    # As a worker does, it needs a moment to end what it runs, in its clone.
    worker.write_text("""#!/bin/bash
trap 'sleep 0.3; test -d .git && echo ended > ../ended; exit 143' TERM
ls > ../cloned; echo ready; sleep 5 & wait
""")
    worker.chmod(0o755)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    clone = tmp_path / "parrot-workers/7"
    clone.mkdir(parents=True)
    (clone / "left").touch()
    variables = {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(tmp_path), "SCRATCH": str(tmp_path)}
    servers = {"PREFECT_API_URL": "http://prefect/api", "MLFLOW_TRACKING_URI": "http://mlflow"}
    job = subprocess.Popen(
        ["bash", WORKERS / "slurm.sh"], env=os.environ | variables | servers, stdout=subprocess.PIPE
    )
    assert job.stdout and job.stdout.readline() == b"ready\n"
    job.terminate()
    assert job.wait(20) == 143
    assert (clone.parent / "ended").exists() and not (clone.parent / "cloned").read_text()
    assert not clone.exists()
