"""Which accuracies a pipeline run is compared with."""

import pytest

from parrot.tracking.conclude import conclude
from parrot.tracking.store import connect


@pytest.mark.usefixtures("tracked_folder")
def test_the_run_before_is_the_last_that_was_evaluated() -> None:
    client, experiment = connect()
    for number, share in enumerate((0.5, None, 0.75)):
        run = client.create_run(experiment, start_time=number, tags={"parrot.kind": "pipeline"}).info.run_id
        if share is not None:
            client.log_metric(run, "evaluate/test/accuracy.tr", share)
        client.set_terminated(run)
    conclude(run)
    assert "| test | tr | 75.0 | 50.0 | +25.0 |" in client.get_run(run).data.tags["mlflow.note.content"]
