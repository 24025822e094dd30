"""What an absent server has not taken: kept as it was, sent later, and once."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from parrot.tracking import ensure_store, track_stage
from parrot.tracking.__main__ import main
from parrot.tracking.runs import begin
from parrot.tracking.sending import _gather
from parrot.tracking.store import connect

Runs = Callable[[], dict[str, list]]

pytestmark = pytest.mark.usefixtures("project")


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


@pytest.fixture
def leave(dying_server: str) -> Callable[..., None]:
    """Lets a stage leave its values behind."""

    def run(name: str, loss: float, plots: Path | None = None) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", dying_server)
            patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            with track_stage(name, {"seed": 1}) as tracked:
                tracked.log_metrics({"loss": loss}, step=10)
                if plots:
                    tracked.log_artifact(plots)

    return run


def left() -> list[Path]:
    return sorted(Path("mlruns/unsent").glob("*/run.json"))


def test_values_are_kept_and_sent_later(leave, runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    leave("align", 1.5)
    said = capsys.readouterr().err
    assert said.count("does not take values") == 1
    assert "python -m parrot.tracking" in said
    before = json.loads(left()[0].read_text())
    notes = map(json.loads, (left()[0].parent / "notes.jsonl").read_text().splitlines())
    (ended,) = [note["time"] for note in notes if "end" in note]
    ensure_store()
    (sent,) = runs()["align"]
    assert (sent.data.metrics, sent.data.params) == ({"loss": 1.5}, {"seed": "1"})
    assert (sent.info.status, sent.info.start_time, sent.info.end_time) == (
        "FINISHED",
        before["start"],
        ended,
    )
    assert sent.data.tags["parrot.kind"] == "stage"
    ensure_store()
    assert len(runs()["align"]) == 1
    assert not left()


def test_files_are_sent_as_they_were(project: Path, leave, runs: Runs) -> None:
    plots = project / "plots"
    plots.mkdir()
    for number in (1, 2):
        (plots / "loss.csv").write_text(f"of run {number}")
        leave("align", number, plots)
    (plots / "loss.csv").unlink()
    ensure_store()
    client, _ = connect()
    found = {
        run.data.metrics["loss"]: Path(
            client.download_artifacts(run.info.run_id, "plots/loss.csv")
        ).read_text()
        for run in runs()["align"]
    }
    assert found == {1.0: "of run 1", 2.0: "of run 2"}


@pytest.mark.parametrize("broken", ["", "{}", "[1]", '{"name": 5}'])
def test_a_broken_file_stops_neither_the_others_nor_make_setup(
    broken: str, leave, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    leave("align", 1.0)
    folder = Path("mlruns/unsent/aaa-1")
    folder.mkdir()
    (folder / "run.json").write_text(broken)
    main()
    assert len(runs()["align"]) == 1
    assert [file.parent.name for file in left()] == ["aaa-1"]
    assert "aaa-1: not sent" in capsys.readouterr().err


def test_a_try_that_fails_leaves_no_run(leave, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    leave("align", 1.0)

    def fail(*arguments: object, **named: object) -> None:
        raise OSError("the store is full")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", fail)
        for _ in range(3):
            main()
        assert runs() == {}
        patch.setattr(MlflowClient, "delete_run", fail)
        for _ in range(3):
            main()
        assert len(runs()["align"]) == 1, "one that cannot be deleted is used again"
    main()
    (sent,) = runs()["align"]
    assert sent.data.metrics == {"loss": 1.0}
    assert not left()


def test_a_run_that_another_store_had_made_is_made_here(leave, runs: Runs) -> None:
    leave("align", 1.0)
    (file,) = left()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"run": "1" * 32, "parent": "2" * 32}))
    main()
    (sent,) = runs()["align"]
    assert "mlflow.parentRunId" not in sent.data.tags


def test_a_run_whose_making_was_not_answered_is_found_again(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = MlflowClient.create_run

    def answer_too_late(*arguments: object, **named: object) -> None:
        make(*arguments, **named)
        monkeypatch.setattr(MlflowClient, "create_run", make)
        raise TimeoutError("no answer")

    monkeypatch.setattr(MlflowClient, "create_run", answer_too_late)
    with track_stage("align", {"seed": 1}):
        pass
    (run,) = runs()["align"]
    assert (run.info.status, run.data.params) == ("FINISHED", {"seed": "1"})


def test_a_run_says_that_dvc_did_not_tell_what_its_stage_reads() -> None:
    Path("dvc.yaml").write_text("stages: [broken")
    for stage in ("sft", ""):
        run = begin("stage", "sft", sender="", stage=stage)
        _gather(run.folder)
        (noted,) = map(json.loads, (run.folder / "notes.jsonl").read_text().splitlines())
        assert ("parrot.origin_unknown" in noted["tags"]) == bool(stage), "without DVC nothing is to be known"
