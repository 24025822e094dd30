"""Runs as they end up in a real SQLite store, and what happens when the store is not there."""

import http.server
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from parrot.errors import ParrotError
from parrot.lineage import flatten, input_hashes
from parrot.tracking import ensure_store, track_pipeline, track_stage
from parrot.tracking.runs import birth_tags
from parrot.tracking.store import connect

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def project(tracked_folder: Path) -> Path:
    (tracked_folder / "params.yaml").write_text("sft: {learning_rate: 0.1, api_key: hush}\n")
    return tracked_folder


def runs() -> dict[str, list]:
    client, experiment = connect()
    found: dict[str, list] = {}
    for run in client.search_runs([experiment], order_by=["attributes.start_time ASC"]):
        found.setdefault(run.info.run_name, []).append(run)
    return found


def test_a_stage_under_the_flow_is_a_child_with_its_own_params(project: Path) -> None:
    (project / "curve.txt").write_text("1")
    with track_pipeline() as parent, track_stage("evaluate", {"sft": {"moe": {"weight": 1.0}}}) as run:
        run.log_metrics({"loss": 2.0}, step=1)
        run.log_metrics({"loss": 1.0}, step=2)
        run.log_metrics({"accuracy": {"en": 0.9, "overall": 0.8}, "protocol": "letter"})
        run.log_artifact("curve.txt")
    client, _ = connect()
    found = runs()
    (child,), (pipeline,) = found["evaluate"], found["pipeline"]
    assert child.data.tags["mlflow.parentRunId"] == pipeline.info.run_id == parent.id
    assert child.data.params == {"sft.moe.weight": "1.0"}
    assert pipeline.data.params == {"sft.learning_rate": "0.1"}  # all of params.yaml, no secret
    assert [point.step for point in client.get_metric_history(child.info.run_id, "loss")] == [1, 2]
    assert pipeline.data.metrics == {"evaluate/accuracy.en": 0.9, "evaluate/accuracy.overall": 0.8}
    assert [item.path for item in client.list_artifacts(child.info.run_id)] == ["curve.txt"]
    assert (child.info.status, pipeline.info.status) == ("FINISHED", "FINISHED")


def test_how_a_stage_ends_is_how_its_run_ends() -> None:
    for error in (ParrotError("data/x.json: broken"), KeyboardInterrupt(), SystemExit(143), SystemExit(0)):
        with pytest.raises(type(error)), track_stage("prepare", {}):
            raise error
    ended = [run.info.status for run in runs()["prepare"]]
    assert ended == ["FAILED", "KILLED", "KILLED", "FINISHED"]
    assert runs()["prepare"][0].data.tags["error"] == "data/x.json: broken"


def test_runs_of_dead_processes_are_ended() -> None:
    client, experiment = connect()
    tags = birth_tags("stage", "1-1.00")
    client.create_run(experiment, run_name="dead", tags=tags)
    with track_stage("next", {}):
        pass
    assert runs()["dead"][0].info.status == "KILLED"


def test_long_values_are_shortened_visibly_and_odd_names_are_accepted() -> None:
    with track_stage("sft", {"text": "x" * 9000}) as run:
        run.log_metrics({"accuracy@1": 1.0})
    (run,) = runs()["sft"]
    assert run.data.params["text"].endswith("… (9000 characters)")
    assert run.data.metrics == {"accuracy_1": 1.0}


def test_stages_of_one_dvc_process_share_a_parent(project: Path) -> None:
    (project / "stage.py").write_text(
        textwrap.dedent("""
            import sys
            from pathlib import Path
            from parrot.tracking import track_stage

            with track_stage(sys.argv[1], {}):
                Path(sys.argv[1]).write_text(sys.argv[1])
        """)
    )
    (project / "dvc.yaml").write_text(
        "stages:\n"
        f"  one: {{cmd: {sys.executable} stage.py one, outs: [one]}}\n"
        f"  two: {{cmd: {sys.executable} stage.py two, deps: [one], outs: [two]}}\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}
    for command in (["init", "-q", "--no-scm"], ["repro", "-q"], ["repro", "-q", "-f"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], check=True, env=environment)
    found = runs()
    parents = [run.info.run_id for run in found["pipeline"]]
    assert len(parents) == 2
    for stage in ("one", "two"):
        assert [run.data.tags["mlflow.parentRunId"] for run in found[stage]] == parents
    assert found["two"][0].data.tags["input.one"] == input_hashes("two")["one"]
    assert [run.info.status for run in found["pipeline"]] == ["FINISHED", "FINISHED"]


def test_an_absent_server_stops_the_stage_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hush@127.0.0.1:9")
    told = r"no MLflow server answers at http://\*\*\*@127\.0\.0\.1:9 .*start it"
    with pytest.raises(ParrotError, match=told), track_stage("prepare", {}):
        raise AssertionError("the stage must not run")


def test_a_database_that_is_none_is_named(project: Path) -> None:
    (project / "mlflow.db").write_text("no database\n" * 100)
    with pytest.raises(ParrotError, match=r"mlflow\.db: not usable"), track_stage("prepare", {}):
        raise AssertionError("the stage must not run")


@pytest.fixture
def dying_server() -> Iterator[str]:
    """Says that it is well, and can do nothing else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 500)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_values_that_a_server_did_not_take_are_kept_and_sent_later(
    dying_server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dying_server)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with track_stage("align", {"seed": 1}) as run:
        run.log_metrics({"loss": 1.5}, step=10)
    said = capsys.readouterr().err
    assert said.count("does not take values") == 1
    assert "python -m parrot.tracking" in said
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    ensure_store()
    (sent,) = runs()["align"]
    assert (sent.data.metrics, sent.data.params) == ({"loss": 1.5}, {"seed": "1"})
    assert sent.info.status == "FINISHED"
    ensure_store()
    assert len(runs()["align"]) == 1


def test_flatten_numbers_records_keeps_lists_and_drops_secrets() -> None:
    tree = {
        "a": [{"path": "x"}, {"path": "y"}],
        "b": {"c": [1, 2], "hf_token": "t", "tokens": 3, "empty": {}},
        "password": "p",
    }
    assert flatten(tree) == {"a.0.path": "x", "a.1.path": "y", "b.c": [1, 2], "b.tokens": 3, "b.empty": {}}
