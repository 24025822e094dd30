"""A-OKVQA: a question on a picture of COCO, four choices, and three rationales of the right one."""

from typing import Any

from parrot.data.rejects import Rejected

_WHY = ("Why?", "What makes you think so?", "Give your reasons.", "Explain your answer.", "How can you tell?")


def rewrite(entry: dict[str, Any], number: int) -> dict[str, Any]:
    """The entry with one `question` and one `answer`, which says why; every other question lists its choices.

    Raises:
        Rejected: it has no answer, as those of the test split, or fields are not as published.
    """
    if "correct_choice_idx" not in entry:
        raise Rejected(
            "correct_choice_idx", "missing answer: entries of the test split cannot be learned from"
        )
    question, right = entry.get("question"), entry["correct_choice_idx"]
    choices, rationales = _texts(entry, "choices"), _texts(entry, "rationales")
    if not isinstance(right, int) or not 0 <= right < len(choices):
        raise Rejected(
            "correct_choice_idx", f"wrong value: there are {len(choices)} choices, not {right!r:.20}"
        )
    if not isinstance(question, str) or not question.strip():
        raise Rejected("question", "empty text")
    options = "" if number % 2 else f"\nOptions: {', '.join(choices)}."
    answer = f"The answer is {choices[right]}. Because {' '.join(rationales)}"
    used = {"correct_choice_idx", "choices", "rationales"}
    rest = {key: value for key, value in entry.items() if key not in used}
    return rest | {"question": f"{question} {_WHY[number % len(_WHY)]}{options}", "answer": answer}


def _texts(entry: dict[str, Any], field: str) -> list[str]:
    value = entry.get(field)
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise Rejected(field, "wrong type: expected a list of texts")
    return value
