"""A package of a small model: its files, its proof, and the examples of its card in a fresh process."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from trained_models import ASKED, INST, ROOT, make_package, make_trained, picture
from transformers import pipeline

from parrot.errors import ParrotError
from parrot.loading import load_model, load_processor
from parrot.publishing import package as stage
from parrot.publishing.load_back import answers


@pytest.fixture(scope="module", params=[None, INST], ids=["chatml", "inst"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained(tmp_path_factory.mktemp("trained"), request.param)


Make = Callable[..., Path]


@pytest.fixture
def make(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """`make(repo_id=…, license_file=…)`: the package, in the folder `package` of the current one."""
    monkeypatch.chdir(tmp_path)

    def run(**changes: Any) -> Path:
        make_package(trained, Path("package"), **changes)
        return tmp_path / "package"

    return run


def run_examples(card: Path, environment: dict[str, str]) -> list[list[str]]:
    """The words that each piece of Python on the card prints, run as it stands there."""
    said = []
    for code in re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), re.DOTALL):
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            cwd=card.parents[1],
            env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8", **environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
    return said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trained", "repo_id"),
    [(None, None), (INST, "someone/parrot")],
    ids=["folder", "hub"],
    indirect=["trained"],
)
def test_the_examples_of_the_card_run_as_they_are_pasted(
    make: Make, trained: Path, tmp_path: Path, repo_id: str | None
) -> None:
    folder = make(repo_id=repo_id)
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules")}
    if repo_id:  # as if it had been downloaded
        cached = tmp_path / "hub/models--someone--parrot"
        (cached / "refs").mkdir(parents=True)
        (cached / "refs/main").write_text("f" * 40)
        shutil.copytree(folder, cached / "snapshots" / ("f" * 40))
        environment["HF_HUB_CACHE"] = str(tmp_path / "hub")
    model, processor = load_model(trained / "model"), load_processor(trained / "model")
    asked = [(str(folder / "example.jpg"), question) for question in ASKED.values()]
    alone = [answers(model, processor, [one])[0] for one in asked]
    one, many = run_examples(folder / "README.md", environment)
    assert one == alone[0].split()
    assert many == " ".join(alone).split()
    assert len(set(alone)) > 1
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    lineage = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["trained"]["commit"] == "c0ffee" * 6
    assert lineage["validated"]["sft"] == {"sha256": "of sft"}
    example = json.loads((folder / "example.json").read_text(encoding="utf-8"))
    assert example == {"image": "example.jpg", "question": ASKED["en"], "answer": alone[0]}


def test_another_answer_in_a_batch_is_found(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(folder: Path, asked: list[Any], place: Path) -> dict[str, list[str]]:
        processor = load_processor(folder)
        processor.tokenizer.padding_side = "right"
        model = load_model(folder)
        alone = [answers(model, processor, [one])[0] for one in asked]
        return {"alone": alone, "together": answers(model, processor, asked)}

    monkeypatch.setattr(stage, "_answers_elsewhere", elsewhere)
    with pytest.raises(ParrotError, match="loaded back and asked together, the package answers"):
        make()
    assert not Path("package").exists()


def test_a_missing_license_is_said_at_once(make: Make) -> None:
    with pytest.raises(ParrotError, match=r"package\.license_file: 'none\.txt' is no file; name one with"):
        make(license_file="none.txt")


def test_a_pipeline_answers_six_languages_at_once_as_one_by_one(trained: Path) -> None:
    """And each new token costs one position."""
    model, processor = load_model(trained / "model"), load_processor(trained / "model")
    read: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda module, given, made: read.append(made.shape[1]))
    ask = pipeline("image-text-to-text", model=model, processor=processor)
    chats = [
        [{"role": "user", "content": [
            {"type": "image", "image": Image.open(io.BytesIO(picture(number)))},
            {"type": "text", "text": question},
        ]}]
        for number, question in enumerate(ASKED.values())
    ]  # fmt: skip
    options = {"min_new_tokens": 6, "max_new_tokens": 6, "do_sample": False, "return_full_text": False}

    def texts(chats: list[Any], batch_size: int) -> list[str]:
        return [answer[0]["generated_text"] for answer in ask(text=chats, batch_size=batch_size, **options)]

    together = texts(chats, 4)
    assert [length for length in read if length > 1] == [read[0], read[6]]
    assert len(read) == 2 * 6
    assert together == [texts([chat], 1)[0] for chat in chats]
    assert len(set(together)) > 1
