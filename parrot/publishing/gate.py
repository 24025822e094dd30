"""The gate: whether a new model takes the published one's place. A pure function of two evaluations.

PROMOTE: better overall, and in no language worse by the margin. REJECT: shown to be worse, overall or in a
language, or not asked in a language of the champion's. HOLD: neither is shown, or the two cannot be
compared; the champion stays, and the reasons say what would decide.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from parrot.config_publishing import Gate
from parrot.errors import ParrotError
from parrot.evaluation.comparison.compare import what_differs
from parrot.evaluation.comparison.noninferiority import POWER, Assessed, assess
from parrot.evaluation.samples import Evaluation, read_evaluation
from parrot.evaluation.scoring.accuracy import columns, hits_of, points
from parrot.provenance import read_provenance

Decision = Literal["PROMOTE", "HOLD", "REJECT"]

AGAIN = "evaluate the champion anew as docs/gate.md says, and name its folder with --champion"


@dataclass(frozen=True)
class GateVerdict:
    """A decision with its reasons and numbers."""

    decision: Decision
    reasons: list[str]
    """A phrase for each thing that decides."""
    config: Gate
    comparisons: list[Assessed] = field(default_factory=list)
    """Overall and each language; empty where the two were not compared."""
    models: dict[str, dict[str, str]] = field(default_factory=dict)
    """`challenger` and `champion` -> commit and digest of the weights that were evaluated, where known."""

    @property
    def smallest_difference(self) -> dict[str, float]:
        """`overall` and language -> the smallest difference (0 … 1) that these answers tell at `POWER`."""
        return {one.name: one.smallest_difference for one in self.comparisons}

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `write_json`."""
        return {
            "decision": self.decision,
            "reasons": self.reasons,
            **self.config.model_dump(),
            "power": POWER,
            "models": self.models,
            "smallest_difference": self.smallest_difference,
            "comparisons": [
                {**vars(one), "difference": one.difference._asdict()} for one in self.comparisons
            ],
        }

    def as_markdown(self) -> str:
        """For the card: what was decided and why and, where there was a comparison, its table."""
        lines = [
            f"The gate's verdict is **{self.decision}**:",
            "",
            *(f"- {reason}" for reason in self.reasons),
        ]
        if not self.comparisons:
            return "\n".join(lines)
        overall, *languages = self.comparisons
        told = [100 * one.smallest_difference for one in languages]
        lines += [
            "",
            f"Both models answered the same {overall.questions:,} questions (*{self.config.run}*). In "
            f"{100 * POWER:g} % of cases they tell a difference of "
            f"{100 * overall.smallest_difference:.1f} points overall, and of {min(told):.1f} to "
            f"{max(told):.1f} in a language. Intervals are of resampled pictures; what is found in a "
            f"language is corrected by Holm for {len(languages)} languages.",
            "",
            f"| accuracy, % | questions | before | now | now − before, points "
            f"[{100 * (1 - self.config.alpha):g} % interval] | found |",
            "|---|---:|---:|---:|---:|---|",
        ]
        for one in self.comparisons:
            lines.append(
                f"| {one.name} | {one.questions:,} | {100 * one.champion:.1f} | {100 * one.challenger:.1f} | "
                f"{_difference(one)} | {self._found(one)} |"
            )
        return "\n".join(lines)

    def _found(self, one: Assessed) -> str:
        if one.finding == "worse":
            return "worse"
        margin = f"a loss of {100 * self.config.margin:g}"
        if one is self.comparisons[0]:
            return "better" if one.finding == "good" else "not told from equal"
        return f"{margin} ruled out" if one.finding == "good" else f"{margin} not ruled out"


def gate(challenger: Path, champion: Path | None, config: Gate) -> GateVerdict:
    """Compare two evaluation folders, as `parrot evaluate` writes them.

    Args:
        champion: None where no model has been published yet.

    Raises:
        ParrotError: the challenger's folder is broken, or has no answers of `gate.run`. A champion's that
            is broken is no error but a reason to hold.
    """
    new = read_evaluation(challenger)
    if config.run not in new.runs:
        raise ParrotError(
            f"params.yaml: gate.run: no answers '{config.run}' in {challenger}; it has {', '.join(new.runs)}"
        )
    models = {"challenger": _model(challenger)}
    if champion is None:
        return GateVerdict(
            "PROMOTE", ["the first model: none is published to compare it with"], config, [], models
        )
    try:
        old = read_evaluation(champion, "the champion's evaluation")
        models["champion"] = _model(champion)
    except ParrotError as error:
        return undecided(f"the champion's evaluation cannot be read ({error}); {AGAIN}", config)
    decision, reasons = _without_numbers(new, old, models, config)
    if decision:
        return GateVerdict(decision, reasons, config, [], models)
    others = {sample.key: sample for sample in old.samples}
    comparisons = assess(
        hits_of(new.samples, config.run),
        hits_of([others[sample.key] for sample in new.samples], config.run),
        *columns(new.samples),
        margin=config.margin,
        alpha=config.alpha,
    )
    return GateVerdict(*decide(comparisons, config), config, comparisons, models)


def undecided(reason: str, config: Gate) -> GateVerdict:
    """HOLD, where there is nothing to compare."""
    return GateVerdict("HOLD", [reason], config)


def decide(comparisons: list[Assessed], config: Gate) -> tuple[Decision, list[str]]:
    """The decision, and what it hangs on: all that stands in the way, or all that was shown."""
    overall, *languages = comparisons
    margin = f"{100 * config.margin:g} points"
    worse = [one for one in comparisons if one.finding == "worse"]
    if worse:
        return "REJECT", [f"{one.name} {_difference(one)}: worse" for one in worse]
    missing = []
    if overall.finding != "good":
        missing.append(
            f"overall {_difference(overall)}: not shown to be better; these questions tell "
            f"{100 * overall.smallest_difference:.1f} points in {100 * POWER:g} % of cases"
        )
    missing += [
        f"{one.name} {_difference(one)}: a loss of {margin} is not ruled out"
        for one in languages
        if one.finding != "good"
    ]
    if missing:
        return "HOLD", missing
    return "PROMOTE", [f"overall {_difference(overall)}: better", f"in no language worse by {margin}"]


def _without_numbers(
    new: Evaluation, old: Evaluation, models: dict[str, dict[str, str]], config: Gate
) -> tuple[Decision | None, list[str]]:
    """What is decided before any test: equal models, a language that is gone, other questions or prompts."""
    weights = models["challenger"].get("weights")
    if weights and weights == models["champion"].get("weights"):
        return "HOLD", [f"equal: both evaluations are of the same weights ({weights[:12]})"]
    asked = {sample.language for sample in new.samples}
    if gone := sorted({sample.language for sample in old.samples} - asked):
        return "REJECT", [
            f"not asked in {', '.join(gone)}, which the champion answers in; evaluate it in every language"
        ]
    if problems := what_differs(new, old, ("the challenger", "the champion")):
        return "HOLD", ["the two were not asked the same", *problems, AGAIN]
    others = {sample.key: sample for sample in old.samples}
    if all(
        sample.answers[config.run] == others[sample.key].answers[config.run]  # `hit` is of all rotations
        for sample in new.samples
    ):
        return "HOLD", [f"equal: both give the same {len(new.samples):,} answers"]
    return None, []


def _model(folder: Path) -> dict[str, str]:
    """Commit and weights of the model that was evaluated, as far as `predict` has noted them."""
    made_by = read_provenance(folder)
    known = {"commit": str(made_by["commit"])} if "commit" in made_by else {}
    if files := made_by.get("model"):
        listed = "".join(f"{name} {digest}\n" for name, digest in sorted(files.items()))
        known["weights"] = hashlib.sha256(listed.encode()).hexdigest()
    return known


def _difference(one: Assessed) -> str:
    value, low, high = one.difference
    return f"{points(value)} [{points(low)}, {points(high)}]"
