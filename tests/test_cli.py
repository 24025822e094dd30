"""The command line: sentences instead of tracebacks, and every stage of the graph."""

import errno
import importlib
import inspect
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from parrot.cli import COMMANDS, main
from parrot.errors import ParrotError
from parrot.stage import STAGES

ROOT = Path(__file__).parents[1]


@pytest.fixture
def chat_raises(monkeypatch: pytest.MonkeyPatch):
    """`chat_raises(error)`: from now on the command chat does."""

    def change(error: Exception) -> None:
        def run(args: object) -> None:
            raise error

        monkeypatch.setitem(COMMANDS, "chat", COMMANDS["chat"]._replace(run=run))

    return change


def test_a_user_error_is_a_sentence(chat_raises) -> None:
    chat_raises(ParrotError("data/a.json: broken"))
    with pytest.raises(SystemExit) as stop:
        main(["chat"])
    assert stop.value.code == "parrot chat: data/a.json: broken"


def test_a_full_disk_is_a_sentence(chat_raises) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "artifacts/sft/model.safetensors")
    chat_raises(full)
    with pytest.raises(SystemExit) as stop:
        main(["chat"])
    assert "no space left while writing artifacts/sft/model.safetensors" in str(stop.value.code)


def test_a_defect_keeps_its_traceback(chat_raises) -> None:
    chat_raises(OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output"):
        main(["chat"])


@pytest.mark.parametrize("graph", ["dvc.yaml", "examples/picture_world/dvc.yaml"])
def test_every_stage_of_the_graph_is_a_command_and_takes_its_flags(graph: str) -> None:
    """What a command reads and writes is also what DVC knows of."""
    for name, stage in yaml.safe_load((ROOT / graph).read_text(encoding="utf-8"))["stages"].items():
        stage = stage.get("do", stage)
        words = stage["cmd"].split()
        if words[:2] == ["parrot", "backbone"]:
            continue
        assert (words[1] if words[0] == "parrot" else words[3]) == name
        known = STAGES if words[0] == "parrot" else importlib.import_module(f"{words[2]}.__main__").STAGES
        module, function = known[name].split(":")
        taken = inspect.signature(getattr(importlib.import_module(module), function)).parameters.values()
        flags = {word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
        assert flags == {p.name for p in taken if p.kind is p.KEYWORD_ONLY} - {"run", "work"}, name
        listed = [next(iter(item)) if isinstance(item, dict) else item for kind in ("deps", "outs", "metrics",
                  "plots") for item in stage.get(kind, [])]  # fmt: skip
        for path in (word for word in words if "/" in word):
            assert any(path == item or item.startswith(f"{path}/") for item in listed), f"{name}: {path}"


def test_the_overview_has_a_line_for_each_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from parrot.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print(*sorted({'dvc', 'mlflow', 'numpy', 'pydantic', 'torch'} & set(sys.modules)),\n"
        "    file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""
    for name in (*STAGES, *COMMANDS):
        assert re.search(rf"^ +{name} +\w", done.stdout, re.MULTILINE), name


def test_an_unknown_command_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["trian"], []):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    assert "invalid choice: 'trian'" in capsys.readouterr().err


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
