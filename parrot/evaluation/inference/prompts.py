"""Prompts as data: `prompts.yaml` holds how a question is put and what is scored as its answer."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion
from parrot.model.chat_text import IMAGE, without_images
from parrot.yaml_files import read_yaml

PROMPTS_FILE = Path(__file__).with_name("prompts.yaml")


@dataclass(frozen=True)
class Protocol:
    """One way to ask a multiple-choice question and to take its answer; see `prompts.yaml`."""

    name: str
    version: str
    system: str
    prompt: str
    read: Literal["texts", "letters", "written"]
    max_new_tokens: int = 0
    closing: dict[str, str] = field(default_factory=dict)
    """Language -> closing line; empty where the prompt has none."""

    @property
    def shows_options(self) -> bool:
        return "{options}" in self.prompt

    def ask(self, question: MultipleChoiceQuestion, *, picture: bool) -> str:
        """The user's turn, in which `<image>` stands for the picture alone.

        Raises:
            ParrotError: the prompt ends in a closing line and the question's language has none.
        """
        language = question.language
        if self.closing and language not in self.closing:
            raise ParrotError(
                f"{PROMPTS_FILE.name}: {self.name}.closing has no line for '{language}'; add it there"
            )
        return self.prompt.format(
            picture=f"{IMAGE}\n" if picture else "",
            hint=without_images(f"{question.hint}\n" if question.hint else ""),
            question=without_images(question.question),
            options=without_images("\n".join(f"{name}. {text}" for name, text in question.options.items())),
            closing=self.closing.get(language, ""),
        )

    def answers(self, question: MultipleChoiceQuestion) -> dict[str, str]:
        """Letter -> the text that is scored as the assistant's answer."""
        texts = question.options
        return dict(texts) if self.read == "texts" else {letter: letter for letter in texts}


@cache
def protocols() -> dict[str, Protocol]:
    """Every protocol of `prompts.yaml` by name."""
    return {name: Protocol(name=name, **settings) for name, settings in read_yaml(PROMPTS_FILE).items()}
