"""The model card: how to use the model, how well it answers, what it is made of, and what it cannot do."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from parrot.config import Backbone, Backbones, Evaluate, Package
from parrot.publishing.snippets import ask_many, ask_one

PAPERS = ("2406.02539", "2305.04790")
EXAMPLE_IMAGE = "example.jpg"
SPLITS = {"align": "stage one", "sft": "stage two"}


@dataclass(frozen=True)
class Model:
    """What the model says of itself."""

    summary: str
    """ "the architecture of …"."""
    parameters: dict[str, int]
    """Part -> how many; a head that shares its weights with the embeddings is none of its own."""
    image_size: int
    """Pixels on a side of what it sees of a picture."""
    image_positions: int
    """That one picture takes in the text."""
    max_positions: int | None


@dataclass(frozen=True)
class Facts:
    """All that a card tells."""

    package: Package
    evaluate: Evaluate
    backbones: Backbones
    languages: Sequence[str]
    model: Model
    scores: Mapping[str, Any]
    """As `metrics/evaluate.json`."""
    prepared: Mapping[str, Any]
    """As `metrics/prepare.json`."""
    trained: Mapping[str, Any]
    """See `parrot.provenance`; empty if that is not known."""
    example: Mapping[str, str]
    """Question and answer about the picture."""
    questions: Sequence[str]
    """About the same picture, in several languages."""


def model_card(facts: Facts, folder: Path) -> str:
    """The README.md of the package, with the accuracies as `model-index` metadata.

    Args:
        folder: where the package lies, for the examples of one that has no `repo_id`.
    """
    package, scores, languages = facts.package, facts.scores, facts.languages
    place = (package.repo_id, folder, EXAMPLE_IMAGE)
    return f"""---
{_metadata(facts).to_yaml()}
---

# {package.name}

A multilingual vision-language model in {facts.model.summary}. Languages: {", ".join(languages)}.

## Use

One question about one picture:

```python
{ask_one(*place, facts.example["question"])}```

Several at once, of any length and in any language:

```python
{ask_many(*place, facts.questions)}```

Both run code of this repository (`trust_remote_code`), which needs transformers, torch and Pillow. Of \
`{EXAMPLE_IMAGE}`, {_code(facts.example["question"])} → {_code(facts.example["answer"])}: the package was \
loaded in a new process and gave this answer, alone and in a batch.

## Accuracy

{scores["questions"]} multiple-choice questions of {facts.evaluate.name}, {len(languages)} languages, \
chance {scores["chance"]:.1%}. *Seeing* (with its 95 % interval) and *blind* (picture \
{facts.evaluate.blind}) choose the likeliest option text, *letter* the likeliest letter; *written* is the \
letter read from what the model writes, *kit* the same as VLMEvalKit reads it.

{_accuracy_table(languages, scores)}

## Training

{_base_models(facts.backbones)}

{_data_table(facts.prepared)}

{_sources(facts.prepared)}

{_how(facts.trained)}

## Parameters

{_parameter_table(facts.model)}

## Limits

{_limits(facts)}

## Licence

{package.license}; its text is in `LICENSE`. The base models and the training data have licences of their own.
"""


def _metadata(facts: Facts) -> ModelCardData:
    bases = [
        str(backbone.pretrained) for backbone in _pretrained(facts.backbones).values() if _on_hub(backbone)
    ]
    return ModelCardData(
        language=list(facts.languages),
        license=facts.package.license,
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        base_model=bases or None,
        tags=["parrot", "multilingual", "vision-language", *(f"arxiv:{paper}" for paper in PAPERS)],
        model_name=facts.package.name,
        eval_results=_results(facts),
    )


def _results(facts: Facts) -> list[EvalResult]:
    """For each language: the likeliest option text, and written answers as the kit reads them."""
    columns = {
        f"accuracy, {facts.scores['protocol']}": facts.scores["accuracy"],
        "accuracy, letter_generation read as VLMEvalKit does": facts.scores["written"]["vlmevalkit"],
    }
    return [
        EvalResult(
            task_type="visual-question-answering",
            dataset_type=facts.evaluate.name,
            dataset_name=f"{facts.evaluate.name} ({language})",
            dataset_config=language,
            dataset_split=Path(facts.evaluate.benchmark).name,
            metric_type="accuracy",
            metric_name=name,
            metric_value=column[language],
        )
        for language in facts.languages
        for name, column in columns.items()
    ]


def _accuracy_table(languages: Sequence[str], scores: Mapping[str, Any]) -> str:
    written = scores["written"]
    columns = (scores["blind"], scores["letter"], written["parrot"], written["vlmevalkit"])
    rows = []
    for language in (*languages, "overall"):
        interval = scores["interval"][language]
        seeing = f"{scores['accuracy'][language]:.1%} [{interval['low']:.1%}, {interval['high']:.1%}]"
        rows.append([language, seeing, *(f"{column[language]:.1%}" for column in columns)])
    return _table(["language", "seeing", "blind", "letter", "written", "kit"], rows)


def _pretrained(backbones: Backbones) -> dict[str, Backbone]:
    every: dict[str, Backbone] = {"vision tower": backbones.vision, "language model": backbones.language}
    return {part: backbone for part, backbone in every.items() if backbone.pretrained}


def _on_hub(backbone: Backbone) -> bool:
    return bool(backbone.pretrained) and not Path(str(backbone.pretrained)).is_dir()


def _base_models(backbones: Backbones) -> str:
    pretrained = _pretrained(backbones)
    said = []
    for part in ("vision tower", "language model"):
        if part not in pretrained:
            said.append(f"The {part} was trained from scratch.")
            continue
        backbone = pretrained[part]
        # Of a folder its name alone: where it lies says something of a machine, and nothing to a reader.
        name = str(backbone.pretrained) if _on_hub(backbone) else Path(str(backbone.pretrained)).name
        at = f" at revision `{backbone.revision}`" if backbone.revision else ""
        said.append(f"The {part} is {_code(name)}{at}, trained further as said below.")
    return " ".join(said)


def _data_table(prepared: Mapping[str, Any]) -> str:
    languages = sorted({language for split in SPLITS for language in prepared[split]["languages"]})
    rows = [
        [f"{name} (`{split}`)"]
        + [f"{prepared[split][count]:,}" for count in ("records", "images")]
        + [f"{prepared[split]['languages'].get(language, 0):,}" for language in languages]
        for split, name in SPLITS.items()
    ]
    return _table(["training data", "conversations", "pictures", *languages], rows)


def _sources(prepared: Mapping[str, Any]) -> str:
    return "\n".join(
        f"- Sources of {name}: "
        + ", ".join(f"{_code(source)} {count:,}" for source, count in prepared[split]["sources"].items())
        for split, name in SPLITS.items()
    )


def _how(trained: Mapping[str, Any]) -> str:
    """Which settings, and which commit."""
    if not trained:
        return "How it was trained is not recorded."
    rows = []
    for split, made_by in (("align", trained.get("aligned") or {}), ("sft", trained)):
        if not (stage := made_by.get("params", {}).get(split)):
            continue
        run = stage["training"]
        rates = (
            stage.get("learning_rate", run.get("learning_rate")),
            stage.get("language_model_learning_rate"),
        )
        rows.append(
            [
                SPLITS[split],
                str(run["max_steps"]),
                str(run["batch_size"] * run["gradient_accumulation_steps"]),
                run["optimizer"],
                " / ".join(f"{rate:g}" for rate in rates if rate is not None),
                f"`{str(made_by.get('commit', 'unknown'))[:12]}`",
            ]
        )
    table = _table(["", "steps", "batch", "optimizer", "learning rate (bridge / language)", "commit"], rows)
    changed = trained.get("uncommitted_changes") == "True"
    return (
        f"{table}\n\nTrained with seed {trained.get('seed')}, torch {trained.get('torch')} and transformers "
        f"{trained.get('transformers')}{', with changes that were not committed' if changed else ''}. "
        f"`lineage.json` has every setting."
    )


def _parameter_table(model: Model) -> str:
    counts = {**model.parameters, "all": sum(model.parameters.values())}
    return _table(["part", "parameters"], [[part, f"{count:,}"] for part, count in counts.items()])


def _limits(facts: Facts) -> str:
    model, scores = facts.model, facts.scores
    positions = f" A chat has at most {model.max_positions:,} positions." if model.max_positions else ""
    said = [
        facts.package.limits.strip(),
        f"It was trained and measured in {', '.join(facts.languages)}; other languages were not tried.",
        f"It sees {model.image_size} × {model.image_size} pixels of a picture, which take "
        f"{model.image_positions} positions of the text.{positions}",
        f"It is wrong, and sounds as sure, in {1 - scores['accuracy']['overall']:.1%} of the questions "
        f"above; in {scores['unreadable']['overall']:.1%} of its written answers no letter could be read.",
        "Whether its answers are harmful, biased or private was not examined.",
    ]
    return "\n".join(f"- {line}" for line in said if line)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown; all columns but the first are aligned on the right."""
    lines = [list(head), ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _code(text: str) -> str:
    """The text as it is, whatever of Markdown or HTML it holds; it comes from data files and the model."""
    escaped = html.escape(" ".join(text.split())).replace("|", "&#124;").replace("`", "&#96;")
    return f"<code>{escaped}</code>"
