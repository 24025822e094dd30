"""One Prefect server and one MLflow store for all tests."""

from collections.abc import Iterator

import dvc  # noqa: F401  its logger writes for ever to what is standard output now, and no test's capture
import pytest

import flows  # noqa: F401  sets the environment before prefect is imported


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    from parrot.tracking import ensure_store

    with pytest.MonkeyPatch.context() as patch:
        store = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
        ensure_store()
        with prefect_test_harness(server_startup_timeout=400):
            yield
