"""What a reply answers, apart from what it thinks aloud."""

import re

from parrot.evaluation.extraction.patterns import answer_patterns


def conclusion(reply: str) -> str:
    """The reply without thoughts in tags, and where the answer has tags of its own, the last such answer.

    Where a thought is closed and was never opened (the prompt did so), all before it is thought; where it
    is never closed, all behind it.
    """
    words = answer_patterns()
    parts: list[str] = []
    place, thinking = 0, False
    for tag in words.thought.finditer(reply):
        if tag[1] and not thinking:
            parts = []
        elif not tag[1] and not thinking:
            parts.append(reply[place : tag.start()])
        place, thinking = tag.end(), not tag[1]
    reply = "\n".join(parts if thinking else [*parts, reply[place:]])
    marks = list(words.result.finditer(reply))
    opened = [number for number, mark in enumerate(marks) if not mark[1]]
    if not opened:
        return reply
    following = marks[opened[-1] + 1 : opened[-1] + 2]
    return reply[marks[opened[-1]].end() : following[0].start() if following else len(reply)]


_BOX = re.compile(r"\\f?boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")


def boxed(reply: str) -> list[str]:
    r"""What stands in every `\boxed{…}`."""
    return [match[1] for match in _BOX.finditer(reply)] if "boxed" in reply else []
