"""What a team's servers do to a run that is under way: they go away and come back. And two runs at once."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from mlflow import MlflowClient
from servers import Postgres, free_port, skip_without_postgres
from team import FILES, GPU, ROOT, Team, let_go, wait_for

pytestmark = pytest.mark.slow
PIPELINE = (sys.executable, "-m", "flows.pipeline", "--no-publish")
AWAY_SECONDS = 60.0


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    skip_without_postgres("asyncpg")
    with Postgres("prefect") as made:
        yield made


@pytest.fixture(scope="module")
def team(database: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with Team(tmp_path_factory.mktemp("team")) as made:
        made.more = {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
            "PREFECT_API_DATABASE_CONNECTION_URL": database.address("postgresql+asyncpg", "prefect"),
            "CUDA_VISIBLE_DEVICES": GPU,
        }
        made.make_clone(FILES)
        made.share()
        made.start_mlflow()
        made.serve_and_work("one")
        made.run(sys.executable, str(ROOT / "deploy/automations.py"))
        made.run(*PIPELINE)
        yield made


@contextmanager
def server_away(team: Team, database: Postgres) -> Iterator[None]:
    team.stop("server")
    yield
    team.start_server()


@contextmanager
def database_away(team: Team, database: Postgres) -> Iterator[None]:
    database.stop()
    yield
    database.start()


@contextmanager
def mlflow_away(team: Team, database: Postgres) -> Iterator[None]:
    team.stop("mlflow")
    yield
    team.start_mlflow()


def tracked(team: Team) -> list[str]:
    """The states of the pipeline runs that MLflow knows."""
    client = MlflowClient(team.more["MLFLOW_TRACKING_URI"])
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, "tags.`parrot.kind` = 'pipeline'")
    return [run.info.status for run in found]


@pytest.mark.parametrize("moment", ["prepare", "train", "made"])
@pytest.mark.parametrize("away", [server_away, database_away, mlflow_away])
def test_what_is_away_for_a_minute_loses_and_doubles_nothing(
    team: Team, database: Postgres, away: Callable[..., Iterator[None]], moment: str
) -> None:
    """While a stage runs in place, while one runs on a worker, and while a worker's stage ends."""
    runs, trained, known = len(team.runs()), len(team.trained.read_text().split()), len(tracked(team))
    with team.held_at(moment) as held:
        run = team.submit("parrot/manual", "publish=false", "force=true")
        hanging = held()
    with away(team, database):
        began = time.monotonic()
        if moment == "made":
            let_go(hanging)
        time.sleep(AWAY_SECONDS - (time.monotonic() - began))
    if moment != "made":
        let_go(hanging)
    wait_for(lambda: team.state(run).is_final(), 900, "the run does not end")
    assert team.state(run).name == "Completed", team.state(run).message
    assert team.state(run).message == "4 of 4 stages were brought up to date"
    assert len(team.runs()) == runs + 2, "the pipeline, and one training"
    assert team.stage_runs()[0].state.name == "Done"
    assert len(team.trained.read_text().split()) == trained + 1
    team.run(sys.executable, "-m", "parrot.tracking")
    assert tracked(team) == ["FINISHED"] * (known + 1)
    assert "Data and pipelines are up to date" in team.run("dvc", "status")


@pytest.mark.parametrize("away", [server_away, database_away])
def test_a_living_run_keeps_its_gpu_and_its_deployments_slot(
    team: Team, database: Postgres, away: Callable[..., Iterator[None]]
) -> None:
    with team.held_at("train") as held:
        run = team.submit("parrot/manual", "publish=false", "force=true", "alone=true", 'stages=["train"]')
        hanging = held()
    with away(team, database):
        time.sleep(AWAY_SECONDS)
    for _ in range(90):  # until a lease that nobody renews is over, and the server has looked for such
        assert team.gpus_in_use() == 1
        time.sleep(1)
    assert sorted(round(left / 60) for left in team.leases()) == [2, 5], "renewed to their whole length"
    let_go(hanging)
    wait_for(lambda: team.state(run).is_final(), 900, "the run does not end")
    assert team.state(run).name == "Completed", team.state(run).message
    assert team.gpus_in_use() == 0 and not team.leases()


@pytest.mark.parametrize("first", ["manual", "retrain"])
@pytest.mark.parametrize("second", ["manual", "retrain"])
def test_the_second_of_two_retrains_waits_and_has_nothing_left_to_do(
    team: Team, first: str, second: str
) -> None:
    trained = team.trained.read_text().split()
    team.set_rate(len(trained) + 2)
    with team.held_at("train") as held:
        one = team.submit(f"parrot/{first}", "publish=false")
        hanging = held()
    other = team.submit(f"parrot/{second}", "publish=false")
    time.sleep(15)
    assert not team.state(other).is_running() and not team.state(other).is_final()
    let_go(hanging)
    wait_for(lambda: team.state(other).is_final(), 900, "the second does not end")
    assert team.state(one).message == "2 of 4 stages were brought up to date"
    assert team.state(other).message.startswith("nothing to do: data, code, parameters and backbones are")
    assert len(team.trained.read_text().split()) == len(trained) + 1
