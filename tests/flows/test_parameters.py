"""Values that a form asks for hold for one run."""

import shutil
from pathlib import Path

import pytest
import yaml

from flows.parameters import chosen_params
from parrot.errors import ParrotError

ROOT = Path(__file__).parents[2]
RATE = "sft.learning_rate"


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "params.yaml"


def rate(params: Path) -> object:
    value = yaml.safe_load(params.read_text())
    for key in RATE.split("."):
        value = value[key]
    return value


def test_a_run_has_its_own_values_and_the_file_is_as_before(params: Path) -> None:
    before = params.read_text()
    with chosen_params(None, [f"{RATE}=0.125", "sft.training.max_steps=7"]):
        assert rate(params) == 0.125
        changed = [line for line in params.read_text().splitlines() if line not in before.splitlines()]
        assert len(changed) == 2, "every comment and all else stays"
    assert params.read_text() == before
    with chosen_params("parrot-7b", [f"{RATE}=0.25"]):
        assert rate(params) == 0.25
        assert "parrot profile parrot-7b" in params.read_text()
    assert params.read_text() == before
    with chosen_params(None, []):
        assert params.read_text() == before


def test_the_next_run_puts_back_what_a_killed_one_has_left(params: Path) -> None:
    before = params.read_text()
    killed = chosen_params(None, [f"{RATE}=0.125"])
    killed.__enter__()
    with chosen_params(None, []):
        assert params.read_text() == before


def test_what_a_person_writes_meanwhile_is_kept(params: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = params.read_text()
    with chosen_params(None, [f"{RATE}=0.125"]):
        params.write_text(written := before + "\n# more\n")
    assert params.read_text() == written
    assert "compare it with .parrot/params-before-run.yaml" in capsys.readouterr().out
    assert Path(".parrot/params-before-run.yaml").read_text() == before
    with chosen_params(None, []):
        assert params.read_text() == written


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("sft.learning_rat=1", "sft.learning_rat: unknown key; did you mean"),
        (f"{RATE}=fast", "learning_rate: Input should be a valid number"),
        ("stf.rate=1", "'stf.rate=1' names no key of params.yaml"),
        ("seed", "'seed' names no key of params.yaml; write it as"),
        (f"{RATE}=[", "is no value of YAML"),
    ],
)
def test_a_wrong_setting_is_a_sentence_and_changes_nothing(params: Path, setting: str, sentence: str) -> None:
    before = params.read_text()
    with pytest.raises(ParrotError, match=sentence.replace("[", r"\[")), chosen_params(None, [setting]):
        raise AssertionError("the run must not begin")
    assert params.read_text() == before


def test_a_profile_that_there_is_not_is_a_sentence(params: Path) -> None:
    with pytest.raises(ParrotError, match="no profile 'parot-7b'; did you mean 'parrot-7b'"), \
         chosen_params("parot-7b", []):  # fmt: skip
        raise AssertionError("the run must not begin")
