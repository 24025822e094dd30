"""The card: what the Hub reads of it, and what a reader finds."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_repositories import metadata_errors
from huggingface_hub import EvalResultEntry, ModelCard, parse_eval_result_entries

from parrot.config import Backbones, HubModel
from parrot.params import load_params
from parrot.profiles import compose
from parrot.publishing.card import model_card
from parrot.publishing.card_facts import CardFacts, ModelFacts
from parrot.publishing.card_metadata import eval_results

COLUMN = {"en": 0.91, "zh": 0.902, "overall": 0.906}
SCORES = {
    "accuracy": COLUMN,
    "interval": {
        name: {"low": round(value - 0.03, 3), "high": round(value + 0.02, 3)}
        for name, value in COLUMN.items()
    },
    "blind": dict.fromkeys(COLUMN, 0.25),
    "letter": dict.fromkeys(COLUMN, 0.27),
    "written": {"parrot": dict.fromkeys(COLUMN, 0.04), "vlmevalkit": dict.fromkeys(COLUMN, 0.03)},
    "unreadable": dict.fromkeys(COLUMN, 0.5),
    "free": dict.fromkeys(COLUMN, 0.87),
    "chance": 0.25,
    "protocol": "option_likelihood",
    "questions": 600,
}
SPLIT = {"records": 1200, "images": 1000, "languages": {"en": 1100, "zh": 100}, "sources": {"captions": 1200}}
ROOT = Path(__file__).parents[2]
PROFILES = sorted(file.stem for file in (ROOT / "conf").glob("*.yaml"))
PARAMS = load_params(ROOT / "params.yaml")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def facts(**changes: Any) -> CardFacts:
    settings = {"model": PARAMS.model.model_dump()}
    given: dict[str, Any] = {
        "package": PARAMS.package,
        "evaluate": PARAMS.evaluate,
        "backbones": PARAMS.backbones,
        "hub": PARAMS.hub,
        "sources": PARAMS.sources,
        "languages": ["en", "zh"],
        "model": ModelFacts("an architecture", {"projector": 2000, "language_model": 30000}, 64, 17, 2048),
        "scores": SCORES,
        "mixtures": {"align": SPLIT, "sft": SPLIT},
        "trainings": {"align": {"steps": 1800}, "sft": {"steps": 400, "loss": 0.5}},
        "trained": {
            "commit": COMMIT, "seed": 7, "torch": "2.13", "transformers": "5.23",
            "uncommitted_changes": "True",
            "params": {**settings, "sft": PARAMS.sft.model_dump()},
            "aligned": {"commit": "f" * 40, "params": {**settings, "align": PARAMS.align.model_dump()}},
        },
        "example": {"image": "example.jpg", "question": "What is red?", "answer": "a | <b>"},
        "questions": ["What is red?", "什么是红的？"],
    }  # fmt: skip
    return CardFacts(**given | changes)


def test_the_hub_reads_the_accuracies_of_every_language() -> None:
    text = model_card(facts(), Path("artifacts/package"))
    data = ModelCard(text).data
    assert data.eval_results is not None
    found = {(result.dataset_config, result.metric_name, result.metric_value) for result in data.eval_results}
    assert found == {
        (language, name, value)
        for language in ("en", "zh")
        for name, value in (
            ("accuracy, option_likelihood", COLUMN[language]),
            ("accuracy, letter_generation read as VLMEvalKit does", 0.03),
        )
    }
    intervals = {(result.dataset_config, str(result.metric_args)) for result in data.eval_results}
    assert ("zh", "{'confidence': 0.95, 'low': 0.872, 'high': 0.922}") in intervals
    assert {result.dataset_type for result in data.eval_results} == {"picture-world-mmmb"}
    assert {result.dataset_split for result in data.eval_results} == {"test"}
    assert "<code>a | b</code>" not in text and "<code>a &#124; &lt;b&gt;</code>" in text
    assert "| zh | 90.2% [87.2%, 92.2%] | 25.0% | 27.0% | 4.0% | 3.0% |" in text


@pytest.mark.parametrize("name", PROFILES)
def test_the_hub_takes_the_metadata_of_every_profile(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "params.yaml").write_text(compose(name), encoding="utf-8")
    params = load_params(tmp_path / "params.yaml")
    sections = ("package", "evaluate", "backbones", "hub", "sources")
    made = facts(languages=["en"], **{section: getattr(params, section) for section in sections})
    text = model_card(made, Path("artifacts/package"))
    assert not list(metadata_errors(text))
    card = ModelCard(text)
    assert ModelCard(card.content).data.to_dict() == card.data.to_dict()
    downloaded = [model.repo for model in params.hub.values()]
    assert sorted(card.data.base_model or []) == sorted(downloaded)
    assert card.data.to_dict().get("base_model_relation") == ("finetune" if downloaded else None)
    if "parrot-" in name or name == "multimodal-gpt":
        assert "liuhaotian/LLaVA-Pretrain" in (card.data.datasets or [])
        entries = [
            entry
            for written in eval_results(made).values()
            for entry in parse_eval_result_entries(yaml.safe_load(written))
        ]
        assert entries[0] == EvalResultEntry(
            dataset_id="AIDC-AI/Parrot-dataset",
            task_id="mmmb_en",
            value=0.91,
            notes="option_likelihood, 95% interval 0.88 to 0.93",
        )
        assert [entry.value for entry in entries] == [0.91, 0.03]
    else:
        assert not eval_results(made) and card.data.datasets is None


def test_a_reader_finds_what_it_is_made_of() -> None:
    text = model_card(facts(), Path("artifacts/package"))
    assert "| learning rate (connector / language) | commit |" in text
    assert f"| stage two | 400 | 16 | muon | 0.001 / 0.0005 | `{COMMIT[:12]}` |" in text
    assert f"| stage one | 1800 | 8 | muon | 0.03 | `{'f' * 12}` |" in text
    assert "seed 7, torch 2.13 and transformers 5.23, with changes that were not committed." in text
    assert "| stage one (`align`) | 1,200 | 1,000 | 1,100 | 100 |" in text
    assert "<code>captions</code> 1,200" in text
    assert "| language_model | 30,000 |\n| all | 32,000 |" in text
    assert PARAMS.package.limits in text and "64 × 64 pixels" in text
    assert "mlflow" not in text and "git.dirty" not in text


def test_steps_are_those_that_were_trained_and_a_batch_is_that_of_all_ranks() -> None:
    sft = PARAMS.sft.model_dump()
    sft["training"] |= {"batch_size": 4, "launch": {"kind": "slurm", "processes": 8, "nodes": 2}}
    made = facts(
        trained={"params": {"sft": sft}, "commit": COMMIT},
        trainings={"align": {"steps": 0}, "sft": {"steps": 250}},  # patience was over
    )
    assert "| stage two | 250 | 64 | muon |" in model_card(made, Path("package"))


def test_base_models_of_the_hub_are_named_and_folders_only_by_their_names() -> None:
    hub = {"words": HubModel(repo="someone/words", revision="a" * 40)}
    backbones = Backbones(vision="/home/me/tower", language="artifacts/hub/words")
    text = model_card(facts(backbones=backbones, hub=hub), Path("artifacts/package"))
    assert ModelCard(text).data.base_model == ["someone/words"]
    assert f"<code>someone/words</code> at revision `{'a' * 40}`" in text
    assert "<code>tower</code>" in text and "/home/me" not in text


def test_backbones_of_the_pipeline_itself_are_said_to_be_its_own() -> None:
    text = model_card(facts(), Path("artifacts/package"))
    assert (
        "The vision tower is <code>picture_world/vision</code>, which this project's own pipeline made"
        in text
    )
    assert ModelCard(text).data.base_model is None


def test_answers_without_options_are_shown_where_these_were_left_out() -> None:
    text = model_card(facts(), Path("package"))
    assert "| VLMEvalKit | free |\n" in text and "| 3.0% | 87.0% |\n" in text and "*free* is what" in text
    others = {name: value for name, value in SCORES.items() if name != "free"}
    assert "free" not in model_card(facts(scores=others), Path("package")).split("## Training")[0]


def test_unknown_training_is_said() -> None:
    assert "How it was trained is not recorded." in model_card(facts(trained={}), Path("package"))


@pytest.mark.parametrize(("repo_id", "place"), [(None, '"some/folder"'), ("a/b", 'snapshot_download("a/b")')])
def test_examples_name_the_folder_or_the_repository(repo_id: str | None, place: str) -> None:
    package = PARAMS.package.model_copy(update={"repo_id": repo_id})
    text = model_card(facts(package=package), Path("some/folder"))
    assert text.count(f"folder = {place}\n") == 2
