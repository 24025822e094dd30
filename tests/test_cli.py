"""The command line: sentences instead of tracebacks, and every stage of the graph."""

import errno
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

import parrot.cli
from parrot.cli import main
from parrot.errors import ParrotError
from parrot.stages import STAGES, Stage

ROOT = Path(__file__).parents[1]


def raising(error: Exception):
    def run(args: object) -> None:
        raise error

    return run


def test_a_user_error_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parrot.cli, "_chat", raising(ParrotError("data/a.json: broken")))
    with pytest.raises(SystemExit) as stop:
        main(["chat"])
    assert stop.value.code == "parrot chat: data/a.json: broken"


def test_a_full_disk_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "artifacts/sft/model.safetensors")
    monkeypatch.setattr(parrot.cli, "_chat", raising(full))
    with pytest.raises(SystemExit) as stop:
        main(["chat"])
    assert "no space left while writing artifacts/sft/model.safetensors" in str(stop.value.code)


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parrot.cli, "_chat", raising(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        main(["chat"])


def test_every_stage_of_the_graph_is_a_command_and_takes_its_options() -> None:
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert list(graph) == list(STAGES)
    for name, stage in graph.items():
        words = stage["cmd"].split()
        assert words[:2] == ["parrot", name]
        options = {word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
        assert options == set(STAGES[name].paths)
        written = [next(iter(out)) if isinstance(out, dict) else out for kind in ("outs", "metrics", "plots")
                   for out in stage.get(kind, [])]  # fmt: skip
        read = [dep for dep in stage["deps"] if not dep.startswith("parrot/")]
        for path in words[3::2]:
            known = any(path == other or other.startswith(f"{path}/") for other in (*written, *read))
            assert known, f"{name}: DVC does not know of {path}"


@pytest.fixture
def training_stage(tracked_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """`training_stage(function)`: `align` runs it in a folder with the project's graph and parameters."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tracked_folder)

    def run(function: Callable[..., dict[str, Any]]) -> None:
        monkeypatch.setattr(Stage, "load", lambda self: function)
        monkeypatch.setattr("parrot.evaluation.ahead.check_ahead", lambda *args, **kwargs: None)
        paths = [part for path in STAGES["align"].paths for part in (f"--{path}", str(tracked_folder / path))]
        main(["align", *paths])

    return run


def test_checkpoints_go_when_the_outputs_are_in_place_and_not_before(training_stage) -> None:
    work: list[Path] = []

    def killed(run: Any, **kwargs: Any) -> dict[str, Any]:
        work.append(run.checkpoints)
        (run.checkpoints / "checkpoint-5").mkdir()
        raise KeyboardInterrupt

    def saves(run: Any, output: Path, **kwargs: Any) -> dict[str, Any]:
        assert run.checkpoints == work[0]
        assert (run.checkpoints / "checkpoint-5").is_dir()
        output.mkdir()
        return {}

    with pytest.raises(KeyboardInterrupt):
        training_stage(killed)
    assert (work[0] / "checkpoint-5").is_dir()
    training_stage(saves)
    assert not work[0].exists()


def test_a_full_disk_of_checkpoints_is_named(training_stage) -> None:
    def full(**kwargs: Any) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SystemExit, match=r"no space left while writing \.parrot/checkpoints/align-"):
        training_stage(full)


def test_saving_a_model_without_a_gpu_says_nothing_of_deepspeed() -> None:
    code = (
        "from transformers import CLIPVisionConfig, CLIPVisionModel; import sys\n"
        "from parrot.hardware import tell_deepspeed; tell_deepspeed()\n"
        "config = CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, image_size=8,\n"
        "    num_attention_heads=1, patch_size=8)\n"
        "CLIPVisionModel(config).save_pretrained(sys.argv[1])"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
        )
    assert done.stdout == ""
    assert "accelerator" not in done.stderr


def test_chat_without_a_model_says_where_one_comes_from(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["chat", "--model", str(tmp_path), "--prompt", "hello"])
    assert "no model here; `make demo` makes artifacts/package" in str(stop.value.code)


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"parrot {metadata.version('parrot-vlm')}\n"


@pytest.mark.parametrize("name", STAGES)
def test_help_of_a_stage_says_what_each_path_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert STAGES[name].purpose in said
    for path, what in STAGES[name].paths.items():
        assert f"--{path.replace('_', '-')} PATH {what}" in said
