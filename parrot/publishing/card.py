"""The model card: how to use the model, how well it answers, what it is made of, and what it cannot do."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parrot.config import HubModel, Launch
from parrot.publishing.card_facts import CardFacts, ModelFacts
from parrot.publishing.card_metadata import card_metadata
from parrot.publishing.snippets import ask_many, ask_one

EXAMPLE_IMAGE = "example.jpg"
ARTIFACTS = ("artifacts",)
"""Where the pipeline's own folders begin."""
SPLITS = {"align": "stage one", "sft": "stage two"}
_FREE = (
    "; *free* is what it writes without having seen the options, right if it is the right one word for word"
)


def model_card(facts: CardFacts, folder: Path) -> str:
    """The README.md of the package, with the accuracies as `model-index` metadata.

    Args:
        folder: where the package lies, for the examples of one that has no `repo_id`.
    """
    package, scores, languages = facts.package, facts.scores, facts.languages
    place = (package.repo_id, folder, EXAMPLE_IMAGE)
    return f"""---
{card_metadata(facts).to_yaml()}
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
chance {scores["chance"]:.1%}. *Image* (with its 95 % interval) and *no image* (picture \
{facts.evaluate.blind}) choose the likeliest option text, *letter* the likeliest letter; *written* is the \
letter read from what the model writes, *VLMEvalKit* the same as that reads it\
{_FREE if "free" in scores else ""}.

{_accuracy_table(languages, scores)}

## Training

{_base_models(facts)}

{_data_table(facts.mixtures)}

{_sources(facts.mixtures)}

{_how(facts.trained, facts.trainings)}

## Parameters

{_parameter_table(facts.model)}

## Limits

{_limits(facts)}

## Licence

{package.license}; its text is in `LICENSE`. The base models and the training data have licences of their own.
"""


def _accuracy_table(languages: Sequence[str], scores: Mapping[str, Any]) -> str:
    written = scores["written"]
    columns = {
        "no image": scores["blind"],
        "letter": scores["letter"],
        "written": written["parrot"],
        "VLMEvalKit": written["vlmevalkit"],
    }
    if "free" in scores:
        columns["free"] = scores["free"]
    rows = []
    for language in (*languages, "overall"):
        interval = scores["interval"][language]
        image = f"{scores['accuracy'][language]:.1%} [{interval['low']:.1%}, {interval['high']:.1%}]"
        rows.append([language, image, *(f"{column[language]:.1%}" for column in columns.values())])
    return _table(["language", "image", *columns], rows)


def _base_models(facts: CardFacts) -> str:
    said = []
    for part, model in facts.made_from():
        if isinstance(model, HubModel):
            what = f"{_code(model.repo)} at revision `{model.revision}`"
        elif model.parts[:1] == ARTIFACTS:
            what = f"{_code('/'.join(model.parts[-2:]))}, which this project's own pipeline made"
        else:  # where a folder lies says something of a machine, and nothing to a reader
            what = f"{_code(model.name)}, a folder of its maker's"
        said.append(f"The {part} is {what}, trained further as said below.")
    return " ".join(said)


def _data_table(mixtures: Mapping[str, Mapping[str, Any]]) -> str:
    languages = sorted({language for split in SPLITS for language in mixtures[split]["languages"]})
    rows = [
        [f"{name} (`{split}`)"]
        + [f"{mixtures[split][count]:,}" for count in ("records", "images")]
        + [f"{mixtures[split]['languages'].get(language, 0):,}" for language in languages]
        for split, name in SPLITS.items()
    ]
    return _table(["training data", "conversations", "pictures", *languages], rows)


def _sources(mixtures: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(
        f"- Sources of {name}: "
        + ", ".join(f"{_code(source)} {count:,}" for source, count in mixtures[split]["sources"].items())
        for split, name in SPLITS.items()
    )


def _how(trained: Mapping[str, Any], trainings: Mapping[str, Mapping[str, Any]]) -> str:
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
                str(trainings[split]["steps"]),
                str(run["batch_size"] * run["gradient_accumulation_steps"] * Launch(**run["launch"]).ranks),
                run["optimizer"],
                " / ".join(f"{rate:g}" for rate in rates if rate is not None),
                f"`{str(made_by.get('commit', 'unknown'))[:12]}`",
            ]
        )
    table = _table(
        ["", "steps", "batch", "optimizer", "learning rate (connector / language)", "commit"], rows
    )
    changed = trained.get("uncommitted_changes") == "True"
    return (
        f"{table}\n\nTrained with seed {trained.get('seed')}, torch {trained.get('torch')} and transformers "
        f"{trained.get('transformers')}{', with changes that were not committed' if changed else ''}. "
        f"`lineage.json` has every setting."
    )


def _parameter_table(model: ModelFacts) -> str:
    counts = {**model.parameters, "all": sum(model.parameters.values())}
    return _table(["part", "parameters"], [[part, f"{count:,}"] for part, count in counts.items()])


def _limits(facts: CardFacts) -> str:
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
