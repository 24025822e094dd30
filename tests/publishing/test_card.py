from huggingface_hub import ModelCard

from parrot.config import Package
from parrot.publishing.card import model_card

COLUMN = {"en": 0.91, "zh": 0.902, "overall": 0.906}
EVALUATION = {
    "accuracy": COLUMN,
    "interval": {name: {"low": value - 0.03, "high": value + 0.02} for name, value in COLUMN.items()},
    "blind": dict.fromkeys(COLUMN, 0.25),
    "letter": dict.fromkeys(COLUMN, 0.27),
    "written": {"parrot": dict.fromkeys(COLUMN, 0.04), "vlmevalkit": dict.fromkeys(COLUMN, 0.03)},
    "chance": 0.25,
    "protocol": "option_likelihood",
    "questions": 600,
}


def test_the_hub_reads_the_accuracies_of_every_language() -> None:
    lineage = {"benchmark": "data/mmmb/test", "blind": "removed", "data": "abc"}
    example = {"image": "example.jpg", "question": "What is red?", "answer": "a | <b>"}
    package = Package(name="parrot-demo", license="apache-2.0")
    text = model_card(package, ["en", "zh"], EVALUATION, lineage, example, "an architecture")
    results = ModelCard(text).data.eval_results
    assert results is not None
    found = {(result.dataset_config, result.metric_name, result.metric_value) for result in results}
    assert found == {
        (language, name, value)
        for language in ("en", "zh")
        for name, value in (
            ("accuracy, option_likelihood", COLUMN[language]),
            ("accuracy, letter_generation read as VLMEvalKit does", 0.03),
        )
    }
    assert "<code>a | b</code>" not in text and "<code>a &#124; &lt;b&gt;</code>" in text
    assert "| zh | 90.2% [87.2%, 92.2%] | 25.0% | 27.0% | 4.0% | 3.0% |" in text
