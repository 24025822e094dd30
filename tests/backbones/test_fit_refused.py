"""What cannot be made fit is refused, and no code of a publisher's runs."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from families import QWEN_3, as_bin, publish
from safetensors.torch import load_file, save_file

from parrot.backbones.fit import fit
from parrot.cli import main
from parrot.errors import ParrotError


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("hacked"),)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    publish("qwen3", tmp_path / "published")
    (tmp_path / "published/model.safetensors").unlink()
    (tmp_path / "published/pytorch_model.bin").write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
    with pytest.raises(ParrotError, match="the weights cannot be read"):
        fit("published", None, tmp_path / "fit")
    assert not Path("hacked").exists()


def edit(file: Path, **changes: Any) -> None:
    tree = json.loads(file.read_text())
    file.write_text(json.dumps({**tree, **changes}))


def drop_weight(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors")
    as_bin(folder)


def template(text: str) -> Any:
    return lambda folder: (folder / "chat_template.jinja").write_text(text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: edit(f / "config.json", auto_map={"AutoModel": "evil.Model"}),
            "code of its own .*never run",
        ),
        (
            lambda f: edit(f / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]}),
            r"code of its own \(tokenizer_config.json",
        ),
        (lambda f: edit(f / "config.json", model_type="evil"), "no configuration of transformers"),
        (lambda f: edit(f / "config.json", model_type="bert"), "'bert' is neither|weights"),
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "config.json").write_text("[1"), "config.json is not JSON"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"12345678"), "the weights cannot be read"),
        (lambda f: edit(f / "config.json", hidden_size=64), "the weights cannot be read"),
        (drop_weight, "1 weights of Qwen3ForCausalLM are missing"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "its tokenizer cannot be read"),
        (template("{{ messages[0].content }"), "its chat template|refuses it"),
        (template("{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"), "<|end|>.* no token of"),
        (template("{% for m in messages %}<|im_end|>{{ m.role }}{% endfor %}"), "write every answer once"),
        (
            template(QWEN_3.replace("<|im_start|>assistant\\n' -}}", "x' -}}")),
            "continue its own|opens answers",
        ),
    ],
)
def test_what_cannot_be_made_fit_is_refused_in_a_sentence(
    tmp_path: Path, damage: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(publish("qwen3", tmp_path / "published"))
    with pytest.raises(SystemExit) as stopped:
        main(["backbone", str(tmp_path / "published"), "--output", str(tmp_path / "fit")])
    assert isinstance(stopped.value.code, str)
    assert "\n" not in stopped.value.code
    assert re.search(message, stopped.value.code)
    assert not (tmp_path / "fit").exists()
