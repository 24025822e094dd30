"""How a stage is run: its signature is its command line, and what it is given is what it names."""

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from parrot.errors import ParrotError
from parrot.params import load_params
from parrot.pipeline.checkpoints import WorkFolder
from parrot.stage import STAGES, first_line, run_stage
from parrot.training.trainer import TrainingRun

ROOT = Path(__file__).parents[1]
CALLED: list[dict[str, Any]] = []
"""What the stages below were given; the first of `THEN` is done then."""
THEN: list[Callable[..., Any]] = []


def whole(
    validate: Any, seed: int, *, split: Literal["align", "sft"], model_dir: Path, output: Path
) -> dict[str, Any]:
    """Does what
    a stage does.

    And more.

    Args:
        model_dir: the model, of which 50%
            may be missing.
        split: which records.

    Returns:
        Metrics.
    """
    CALLED.append(locals())
    return {"a": {"b": 1}}


def training(align: Any, seed: int, *, records: Path, output: Path, run: TrainingRun) -> dict[str, Any]:
    """Trains."""
    CALLED.append(locals())
    THEN.pop(0)(run.checkpoints)
    return {}


def working(sources: Any, speed: Any, *, output: Path, work: WorkFolder) -> dict[str, Any]:
    """Goes on."""
    CALLED.append(locals())
    THEN.pop(0)(work)
    return {}


@pytest.fixture
def project(tracked_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the project's parameters."""
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    alone = params.replace("      processes: 2", "      processes: 1")
    (tracked_folder / "params.yaml").write_text(alone, encoding="utf-8")
    monkeypatch.setattr("parrot.evaluation.ahead.check_ahead", lambda *_, **__: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    CALLED.clear()
    THEN.clear()
    return tracked_folder


def run(name: str, *arguments: str, **options: Any) -> None:
    run_stage(name, f"{__name__}:{name}", arguments, **options)


TRAINING = ("--records", "records", "--output", "out")


def test_a_stage_gets_the_sections_and_flags_that_it_names(project: Path) -> None:
    run("whole", "--split", "sft", "--model-dir", "model", "--output", "out")
    params = load_params()
    assert [
        {"validate": params.validate_, "seed": params.seed, "split": "sft", "model_dir": Path("model"),
         "output": Path("out")}
    ] == CALLED  # fmt: skip


def test_its_help_is_its_docstring_and_needs_no_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        run("whole", "--help", prog="python -m examples.a whole")
    assert stop.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("usage: python -m examples.a whole [-h] --split {align,sft} --model-dir PATH")
    assert "Does what a stage does. Every choice" in said
    assert "--model-dir PATH the model, of which 50% may be missing." in said
    assert "--output PATH file or folder to write" in said


@pytest.mark.parametrize("wrong", [["--split", "dev"], [], ["--spl", "sft"]])
def test_wrong_flags_are_told(project: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("whole", *wrong, "--model-dir", "model", "--output", "out")
    assert stop.value.code == 2
    assert "parrot whole: error:" in capsys.readouterr().err
    assert CALLED == []


def test_another_file_may_hold_the_sections(project: Path) -> None:
    """As for the stages of an example; nothing of theirs is evaluated, so there is nothing to check ahead."""
    params = load_params()
    own = SimpleNamespace(align={"own": 1}, seed=7, threads=1, speed=params.speed)
    THEN.append(lambda _: None)
    run("training", *TRAINING, load=lambda: own)
    assert (CALLED[0]["align"], CALLED[0]["seed"]) == ({"own": 1}, 7)


def test_a_training_that_uses_the_cpu_sees_no_gpu(project: Path) -> None:
    run("whole", "--split", "sft", "--model-dir", "model", "--output", "out")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    seen: list[str] = []
    THEN.append(lambda _: seen.append(os.environ["CUDA_VISIBLE_DEVICES"]))
    run("training", *TRAINING)  # as the demonstration's params.yaml has it
    assert seen == [""]


def test_a_training_is_preceded_by_a_look_at_its_evaluation(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ParrotError("a picture cannot be decoded")

    monkeypatch.setattr("parrot.evaluation.ahead.check_ahead", refuse)
    with pytest.raises(ParrotError, match="cannot be decoded"):
        run("training", *TRAINING)
    THEN.append(lambda _: None)
    run("working", "--output", "out")  # trains nothing
    assert len(CALLED) == 1


def test_a_worker_asks_no_questions_of_a_folder_that_it_does_not_have(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (project / "params.yaml").read_text()
    evaluation = "evaluation: {every_steps: 1, records: 1, questions: data/mmmb/dev}"
    text = text.replace("    max_steps: 1400\n", f"    max_steps: 1400\n    {evaluation}\n")
    (project / "params.yaml").write_text(text)
    monkeypatch.setenv("PARROT_WORKER", "gpu-machine")
    with pytest.raises(ParrotError, match="questions: 'data/mmmb/dev' does not travel to a worker"):
        run("training", *TRAINING)
    assert CALLED == []


def test_a_training_is_fed_by_as_many_processes_as_speed_says(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("  workers: 0 ", "  workers: 3 "))
    THEN.append(lambda _: None)
    run("training", *TRAINING)
    assert (CALLED[0]["run"].workers, CALLED[0]["run"].name) == (3, "training")


@pytest.mark.parametrize(("name", "flags"), [("training", TRAINING), ("working", ("--output", "out"))])
def test_checkpoints_go_when_the_outputs_are_in_place_and_not_before(
    project: Path, name: str, flags: tuple[str, ...]
) -> None:
    found: list[Path] = []

    def killed(work: Path) -> None:
        found.append(work)
        (work / "checkpoint-5").mkdir()
        raise KeyboardInterrupt

    def goes_on(work: Path) -> None:
        assert work == found[0]
        assert (work / "checkpoint-5").is_dir()

    THEN.extend([killed, goes_on])
    with pytest.raises(KeyboardInterrupt):
        run(name, *flags)
    assert (found[0] / "checkpoint-5").is_dir()
    run(name, *flags)
    assert not found[0].exists()


def test_what_changes_speed_alone_keeps_the_checkpoints_and_a_changed_input_does_not(project: Path) -> None:
    """Started by hand: what parameters name as files is looked at as well."""
    found: list[Path] = []

    def killed(work: Path) -> None:
        found.append(work)
        raise KeyboardInterrupt

    def run_killed() -> None:
        THEN.append(killed)
        with pytest.raises(KeyboardInterrupt):
            run("working", "--output", "out")

    text = (project / "params.yaml").read_text()
    run_killed()
    (project / "params.yaml").write_text(text.replace("inference_batch_size: 64", "inference_batch_size: 8"))
    run_killed()
    assert found[1] == found[0]
    (project / "data/captions").mkdir(parents=True)
    (project / "data/captions/en.json").write_text("[]")
    run_killed()
    assert found[2] != found[0]


def test_a_full_disk_of_checkpoints_is_named(project: Path) -> None:
    def full(_work: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    THEN.append(full)
    with pytest.raises(ParrotError, match=r"no space left while writing \.parrot/checkpoints/training-"):
        run("training", *TRAINING)


def test_threads_are_set_before_the_stages_module_is_imported(project: Path) -> None:
    (project / "stages_of_mine.py").write_text(
        textwrap.dedent(
            """
            import os
            from pathlib import Path

            THREADS = os.environ["OMP_NUM_THREADS"]

            def tell(seed: int, *, output: Path) -> dict[str, float]:
                output.write_text(THREADS)
                return {}
            """
        )
    )
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("threads: 1 ", "threads: 3 "))
    code = "from parrot.stage import run_stage; run_stage('a', 'stages_of_mine:tell', ['--output', 'out'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    path = os.pathsep.join([str(ROOT), str(project)])
    subprocess.run([sys.executable, "-c", code], env=environment | {"PYTHONPATH": path}, check=True)
    assert (project / "out").read_text() == "3"


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_says_in_a_line_what_it_does(name: str) -> None:
    assert 10 < len(first_line(STAGES[name])) < 100
