"""Metrics and plots in Prefect's page."""

import base64
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.pipeline import main
from flows.shown import curve


@pytest.mark.usefixtures("servers")
def test_a_stages_metrics_and_plots_are_artifacts(project) -> None:
    (Path.cwd() / "numbers").write_text('{"accuracy": {"tr": 0.5}, "questions": 90}')
    (Path.cwd() / "losses").write_text("step,loss,smoothed_loss\n1,4.0,4.0\n2,3.0,3.5\n")
    (Path.cwd() / "shares").write_text("language,share\ntr,0.5\n")
    project(
        "shown: {cmd: 'mkdir plots; cp numbers numbers.json; cp losses losses.csv; "
        "cp shares plots/shares.csv', "
        "deps: [numbers, losses, shares], metrics: [numbers.json: {cache: false}], "
        "plots: [losses.csv: {cache: false}, plots: {cache: false}]}"
    )
    assert main(["--no-publish"]) == 0
    keys = ["numbers-json", "losses-csv", "plots-shares-csv"]
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=keys)))
    data = {artifact.key: artifact.data for artifact in found}
    assert '"metric": "accuracy.tr"' in str(data["numbers-json"])
    assert '"language": "tr"' in str(data["plots-shares-csv"])
    picture = base64.b64decode(str(data["losses-csv"]).partition("base64,")[2])
    assert ET.fromstring(picture).tag.endswith("svg")


def test_a_curve_goes_from_the_first_step_to_the_last() -> None:
    rows = [{"step": "10", "loss": "4"}, {"step": "20", "loss": ""}, {"step": "30", "loss": "1"}]
    svg = ET.fromstring(curve(rows, "loss"))
    (line,) = [element for element in svg if element.tag.endswith("polyline")]
    assert line.attrib["points"] == "40.0,40.0 600.0,200.0", "high losses above, none where none was written"
    assert [element.text for element in svg if element.tag.endswith("text")] == [
        "4",
        "1",
        "step 10",
        "30",
        "loss",
    ]
    assert "polyline" in curve(rows[:1], "loss")
