"""What the flow tells MLflow: nothing of a run that had nothing to do, and cached stages as cached."""

import json
import shutil
from pathlib import Path

import pytest

from flows.pipeline import main
from parrot.tracking.store import connect

ROOT = Path(__file__).parents[2]
PIPELINE = (
    "evaluate: {cmd: 'mkdir -p metrics seen && cp values metrics/evaluate.json && "
    "cp values seen/report.html', deps: [values], outs: [seen], "
    "params: [evaluate.benchmark], "
    "metrics: [metrics/evaluate.json: {cache: false}]}",
    "package: {cmd: cat seen/report.html source > package, deps: [seen, source], outs: [package]}",
)


def pipelines() -> list:
    client, experiment = connect()
    query = "tags.`parrot.kind` = 'pipeline'"
    return client.search_runs([experiment], query, order_by=["attributes.start_time ASC"])


@pytest.mark.usefixtures("servers")
def test_runs_of_the_flow(project, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"accuracy": {"en": 0.9, "overall": 0.8}, "chance": 0.25}
    (Path.cwd() / "values").write_text(json.dumps(values))
    folder = project(*PIPELINE)
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / "toy").mkdir()
    (folder / "toy/params.yaml").write_text("num_key_value_heads: 2\n")
    (folder / "toy/dvc.yaml").write_text(
        "stages: {make: {cmd: touch made, params: [num_key_value_heads], outs: [made]}}\n"
    )
    before = len(pipelines())
    assert main(["--no-publish"]) == 0
    (first,) = pipelines()[before:]
    page = f"/#/experiments/{first.info.experiment_id}/runs/{first.info.run_id}?workflowType=machine_learning"
    assert page in capsys.readouterr().out
    assert (first.data.tags["stage.evaluate"], first.data.tags["stage.package"]) == ("done", "done")

    assert main(["--no-publish"]) == 0
    assert len(pipelines()) == before + 1, "nothing to do, nothing to tell"
    said = capsys.readouterr().out
    assert f"/#/experiments/{first.info.experiment_id}/runs?workflowType=machine_learning" in said

    (folder / "source").write_text("2")
    assert main(["--no-publish"]) == 0
    second = pipelines()[-1]
    assert second.data.params["toy.num_key_value_heads"] == "2", "no secret, though a key"
    assert second.info.run_name == "same settings"
    assert second.data.tags["stage.evaluate"] == "cached"
    assert second.data.tags["stage.evaluate.run"] == "none in this store"
    assert second.data.tags["stage.package"] == "done"
    # An accuracy of dev has another name than one of test.
    assert second.data.metrics == {
        "evaluate/test/accuracy.en": 0.9,
        "evaluate/test/accuracy.overall": 0.8,
        "evaluate/test/chance": 0.25,
    }
    client, _ = connect()
    assert [item.path for item in client.list_artifacts(second.info.run_id, "seen")] == ["seen/report.html"]
