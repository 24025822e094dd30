"""The gate: each decision, and what it says."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written_evaluations import LANGUAGES, right_in, write_evaluation

from parrot.config_publishing import Gate
from parrot.errors import ParrotError
from parrot.evaluation.comparison.noninferiority import Assessed
from parrot.evaluation.scoring.statistics import Estimate
from parrot.publishing.gate import GateVerdict, decide, gate

CONFIG = Gate(run="seeing", margin=0.05, alpha=0.05)
CHAMPION = right_in(0.70, seed=1)
BETTER = right_in(0.78, seed=2)
EQUAL = right_in(0.70, seed=2)


@pytest.fixture
def champion(tmp_path: Path) -> Path:
    return write_evaluation(tmp_path / "champion", CHAMPION, weights="c0")


def test_the_first_model_is_promoted(champion: Path) -> None:
    verdict = gate(champion, None, CONFIG)
    assert verdict.decision == "PROMOTE"
    assert verdict.reasons == ["the first model: none is published to compare it with"]
    assert not verdict.smallest_difference


def test_what_is_better_overall_and_worse_nowhere_is_promoted(tmp_path: Path, champion: Path) -> None:
    verdict = gate(write_evaluation(tmp_path / "new", BETTER, weights="c1"), champion, CONFIG)
    assert verdict.decision == "PROMOTE"
    assert [one.name for one in verdict.comparisons] == ["overall", *LANGUAGES]
    assert verdict.comparisons[0].difference.low > 0
    assert all(one.difference.low > -CONFIG.margin for one in verdict.comparisons[1:])
    assert verdict.reasons[1] == "in no language worse by 5 points"


def test_what_is_no_better_waits_and_hears_what_would_be_told(tmp_path: Path, champion: Path) -> None:
    verdict = gate(write_evaluation(tmp_path / "new", EQUAL), champion, CONFIG)
    assert verdict.decision == "HOLD"
    smallest = verdict.smallest_difference
    assert (
        f"these questions tell {100 * smallest['overall']:.1f} points in 80 % of cases" in verdict.reasons[0]
    )
    assert 0.01 < smallest["overall"] < min(smallest[name] for name in LANGUAGES) < 0.2


def test_a_language_that_is_worse_rejects_whatever_is_gained_elsewhere(
    tmp_path: Path, champion: Path
) -> None:
    worse = right_in(0.90, seed=2, changes={"tr": 0.60})
    verdict = gate(write_evaluation(tmp_path / "new", worse), champion, CONFIG)
    assert verdict.decision == "REJECT"
    (reason,) = verdict.reasons
    assert reason.startswith("tr −") and reason.endswith(": worse")
    assert verdict.comparisons[0].finding == "good"


def test_a_language_of_which_a_loss_is_not_ruled_out_holds(tmp_path: Path, champion: Path) -> None:
    doubtful = right_in(0.90, seed=2, changes={"tr": 0.69})
    verdict = gate(write_evaluation(tmp_path / "new", doubtful), champion, CONFIG)
    assert verdict.decision == "HOLD"
    assert [reason.split()[0] for reason in verdict.reasons] == ["tr"]
    assert verdict.reasons[0].endswith("a loss of 5 points is not ruled out")


def test_what_is_worse_overall_is_rejected(tmp_path: Path, champion: Path) -> None:
    verdict = gate(write_evaluation(tmp_path / "new", right_in(0.6, seed=2)), champion, CONFIG)
    assert verdict.decision == "REJECT"
    assert verdict.reasons[0].startswith("overall −")


def test_the_same_weights_are_no_news_whatever_they_answer(tmp_path: Path, champion: Path) -> None:
    """As where the champion's evaluation is by mistake the challenger's own."""
    verdict = gate(write_evaluation(tmp_path / "new", BETTER, weights="c0"), champion, CONFIG)
    assert verdict.decision == "HOLD"
    assert verdict.reasons[0].startswith("equal: both evaluations are of the same weights")


def test_the_same_answers_of_other_weights_hold(tmp_path: Path, champion: Path) -> None:
    verdict = gate(write_evaluation(tmp_path / "new", CHAMPION, weights="c1"), champion, CONFIG)
    assert (verdict.decision, verdict.reasons) == ("HOLD", ["equal: both give the same 900 answers"])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (
            {"prompts": {"seeing": {"protocol": "option_likelihood", "version": "2"}}},
            "prompts.seeing.version",
        ),
        ({"benchmark": {"en": {"file": "other.tsv"}}}, "benchmark.en.file"),
    ],
)
def test_other_questions_or_prompts_hold_and_say_what_differs(
    tmp_path: Path, champion: Path, changed: dict[str, object], named: str
) -> None:
    verdict = gate(write_evaluation(tmp_path / "new", BETTER, settings=changed), champion, CONFIG)
    assert verdict.decision == "HOLD"
    assert any(reason.startswith(named) and "in the champion" in reason for reason in verdict.reasons)
    assert "--champion" in verdict.reasons[-1]


def test_a_language_that_is_gone_rejects(tmp_path: Path, champion: Path) -> None:
    new = write_evaluation(tmp_path / "new", BETTER, languages=("en", "zh"))
    verdict = gate(new, champion, CONFIG)
    assert verdict.decision == "REJECT"
    assert verdict.reasons[0].startswith("not asked in tr, which the champion answers in")


def test_a_language_that_is_new_holds(tmp_path: Path, champion: Path) -> None:
    new = write_evaluation(tmp_path / "new", right_in(0.9, 2, {"ar": 0.9}), languages=(*LANGUAGES, "ar"))
    verdict = gate(new, champion, CONFIG)
    assert verdict.decision == "HOLD"
    assert any("only in the challenger: 300 (ar 0" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("broken", ["settings.json", "predictions.jsonl", "provenance.json"])
def test_a_broken_champion_holds(tmp_path: Path, champion: Path, broken: str) -> None:
    (champion / broken).write_text("{")
    verdict = gate(write_evaluation(tmp_path / "new", BETTER), champion, CONFIG)
    assert verdict.decision == "HOLD"
    assert "cannot be read" in verdict.reasons[0] and broken in verdict.reasons[0]


def test_a_champion_that_was_deleted_holds(tmp_path: Path) -> None:
    verdict = gate(write_evaluation(tmp_path / "new", BETTER), tmp_path / "gone", CONFIG)
    assert verdict.decision == "HOLD"
    assert "no evaluation (settings.json is missing)" in verdict.reasons[0]


def test_a_broken_challenger_is_an_error(tmp_path: Path, champion: Path) -> None:
    with pytest.raises(ParrotError, match="no evaluation"):
        gate(tmp_path / "nothing", champion, CONFIG)
    with pytest.raises(ParrotError, match=r"gate\.run: no answers 'written' in .*; it has seeing"):
        gate(champion, None, CONFIG.model_copy(update={"run": "written"}))


def test_the_verdict_can_be_written_and_read(tmp_path: Path, champion: Path) -> None:
    verdict = gate(write_evaluation(tmp_path / "new", BETTER, weights="c1"), champion, CONFIG)
    tree = json.loads(json.dumps(verdict.as_json()))
    assert tree["decision"] == "PROMOTE" and tree["margin"] == 0.05
    assert tree["comparisons"][0]["difference"]["low"] == verdict.comparisons[0].difference.low
    assert tree["models"]["champion"]["commit"] == "c" * 40
    assert gate(tmp_path / "new", champion, CONFIG) == verdict
    lines = verdict.as_markdown().splitlines()
    assert lines[0] == "The gate's verdict is **PROMOTE**:"
    rows = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["overall", *LANGUAGES]


FINDINGS = st.sampled_from(["good", "worse", "unclear"])


@settings(max_examples=100, deadline=None)
@given(FINDINGS, st.lists(FINDINGS, min_size=1, max_size=6))
def test_worse_anywhere_rejects_and_only_good_everywhere_promotes(overall: str, languages: list[str]) -> None:
    found = [
        Assessed(name, 10, 0.5, 0.5, Estimate(0.0, -0.1, 0.1), 1.0, 1.0, 0.1, finding)
        for name, finding in zip(["overall", *"abcdef"], [overall, *languages], strict=False)
    ]
    decision, reasons = decide(found, CONFIG)
    every = [overall, *languages]
    if "worse" in every:
        assert decision == "REJECT" and len(reasons) == every.count("worse")
    elif "unclear" in every:
        assert decision == "HOLD" and len(reasons) == every.count("unclear")
    else:
        assert decision == "PROMOTE"
    assert GateVerdict(decision, reasons, CONFIG, found).as_markdown().count("\n| ") == len(found) + 1
