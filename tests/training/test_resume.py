"""`parrot sft` that was killed goes on as if it had not been: weights, curve, MLflow, byte for byte."""

import multiprocessing
import random
import shutil
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest
from killed_stage import (
    AT_THE_END,
    STEPS,
    Aim,
    KilledStage,
    after,
    checkpoints,
    ended,
    placed,
    placing,
    writing,
)
from rank_cases import make_backbones, run_case

from parrot.tracking import ensure_store

Start = Callable[[str, int], KilledStage]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Start]:
    """`start(name, ranks)`: the stage in a folder of its own; "whole" has run to its end, unbroken."""
    folder = tmp_path_factory.mktemp("resume")
    backbones = folder / "backbones"
    (backbones / "align").mkdir(parents=True)
    make_backbones(backbones)
    align = {"stage": "align", "architecture": "parrot", "images": [1], "training": {"max_steps": 0}}
    run_case({"folder": str(backbones / "align"), **align}, backbones)
    shutil.move(backbones / "align/output", backbones / "aligned")
    multiprocessing.get_context("forkserver").set_forkserver_preload(["killed_stage", "deepspeed", "mlflow"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{Path.cwd()}:{Path(__file__).parent}")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("DS_ACCELERATOR", "cpu")
        forkserver.ensure_running()
    begun: dict[tuple[str, int], KilledStage] = {}

    def start(name: str, ranks: int) -> KilledStage:
        if (name, ranks) not in begun:
            begun[name, ranks] = KilledStage(folder / f"{name}-{ranks}", backbones, empty_store, ranks)
            if name == "whole":
                assert not begun[name, ranks].run()
        return begun[name, ranks]

    yield start
    shutil.rmtree(folder, ignore_errors=True)


def end(stage: KilledStage, whole: KilledStage, patch: pytest.MonkeyPatch) -> None:
    """Let it run to its end, and compare with the unbroken one."""
    assert not stage.run()
    assert checkpoints(stage.folder) == []
    assert stage.results() == whole.results()
    ((status, curve),) = whole.curves()
    assert (status, [step for step, _ in curve]) == ("FINISHED", list(range(2, STEPS, 2)))
    for all_sent in (False, True):
        if all_sent:  # also what killed processes had not sent yet
            with patch.context() as there:
                there.chdir(stage.folder)
                ensure_store()
        told = stage.curves()
        assert len(told) <= stage.attempts  # however many ranks
        assert told[-1] == ("FINISHED", curve)
        for status, part in told:
            # A rank fails whose neighbour was killed before it.
            assert status in ("KILLED", "FAILED", "FINISHED")
            assert part == curve[: len(part)]  # no gap, no step twice


def kill(stage: KilledStage, aim: Aim, draw: random.Random) -> bool:
    """Kill it once; whether that came before its end. Whatever had been trained then is not trained again."""
    trained = ended(stage.folder)
    read = stage.records_read()
    was_killed = stage.run(aim, draw)
    if trained:
        assert stage.records_read() == read
    kept = checkpoints(stage.folder)
    assert len(kept) <= 3  # two, and one that is being written
    return was_killed


def test_resume_of_one_process(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, draw = start("killed", 1), random.Random(0)
    for aim in (writing(2), writing(5), *AT_THE_END):
        assert kill(stage, aim, draw)
    read, trained = stage.records_read(), ended(stage.folder)
    end(stage, start("whole", 1), monkeypatch)
    # The last kill may have come when all was done and the checkpoints were gone: then it is trained anew.
    assert (stage.records_read() == read) == trained


@pytest.mark.slow
def test_resume_of_two_ranks_under_zero3(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, draw = start("killed", 2), random.Random(0)
    assert kill(stage, writing(3), draw)
    assert kill(stage, ended, draw)
    newest = next(stage.folder.glob(f".parrot/checkpoints/*/checkpoint-{STEPS}"))
    assert (newest / "latest").read_text() == f"global_step{STEPS}"  # DeepSpeed would take it
    assert not list(newest.glob("*.safetensors"))  # the weights are in the ranks' shares, once
    part = max(newest.glob("global_step*/*optim_states.pt"))
    part.write_bytes(part.read_bytes()[:100])
    assert stage.run(placing, draw)  # after two steps more
    assert "was not written to its end; it is removed" in stage.said()
    assert f"checkpoint-{STEPS}: global_step{STEPS}/{part.name} is not what was written" in stage.said()
    # Another number of ranks trains on its own, and leaves alone what these have done.
    alone = start("killed", 2).on(1)
    assert alone.run(lambda _: "begins anew" in alone.said())
    assert "which was made with sft.training.batch_size 2 (now 4), sft.training.deepspeed " in alone.said()
    assert "sft.training.launch.processes 2 (now 1)" in alone.said()
    read = stage.records_read()
    end(stage, start("whole", 2), monkeypatch)
    assert stage.records_read() == read


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_resume_after_kills_at_random_points(
    start: Start, monkeypatch: pytest.MonkeyPatch, ranks: int
) -> None:
    """One training after the other, killed where the dice say, until there were 20 kills and all aims hit."""
    draw = random.Random(ranks)
    hits: list[str] = []
    trainings = 0
    while len(hits) < 20 or not {"ended", "placing", "placed"} <= set(hits):
        trainings += 1
        assert trainings < 20, hits
        stage = start(f"random-{trainings}", ranks)
        early = [("after", after(draw.uniform(0, 4))) for _ in range(3)]
        early += [("writing", writing(draw.randint(0, 8))) for _ in range(3)]
        draw.shuffle(early)
        late = [(aim.__name__, aim) for aim in (ended, placing, placed) if draw.random() < 0.7]
        hits += [name for name, aim in [*early, *late] if kill(stage, aim, draw)]
        end(stage, start("whole", ranks), monkeypatch)
        shutil.rmtree(stage.folder)
    assert hits.count("writing") > 3
