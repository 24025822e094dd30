"""What a chat template does, found by rendering small conversations: any template, without knowing it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

Messages = Sequence[Mapping[str, Any]]
Special = tuple[tuple[str, str], ...]

# ChatML: turns joined by a newline, none after the last. What is learned (`generation`) is the answer,
# its <|im_end|> and, in all but the last turn, the newline after it. Content is a string with an <image>
# where a picture stands, or the list of parts that transformers uses; there a picture directly before
# a word gets a line of its own, as in the training data.
CHAT_TEMPLATE = """\
{%- macro render(content) -%}
{%- for part in content -%}
{%- if part.type == 'text' -%}{{- part.text -}}
{%- else -%}
{{- '<image>' -}}
{%- set next = loop.nextitem.text if loop.nextitem is defined and loop.nextitem.type == 'text' else ' ' -%}
{%- if next and next[0] not in ' \\n' -%}{{- '\\n' -}}{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- endmacro -%}
{%- if messages and messages[0].role != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}
{{- message.content if message.content is string else render(message.content) -}}
{{- '<|im_end|>' -}}{%- if not loop.last -%}{{- '\\n' -}}{%- endif -%}
{%- endgeneration -%}
{%- else -%}
{{- message.content if message.content is string else render(message.content) -}}
{{- '<|im_end|>' -}}{%- if not loop.last -%}{{- '\\n' -}}{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\\n<|im_start|>assistant\\n' -}}{%- endif -%}
"""


@dataclass(frozen=True)
class ChatFormat:
    """What a chat template writes around an answer."""

    lead: str
    """White space between the generation prompt and the answer: the model has to write it."""
    end: str
    """What ends an answer: a control token, with the white space before it."""
    tagged: bool
    """The template itself says what is learned, the end included (`{% generation %}`)."""

    @property
    def end_token(self) -> str:
        return self.end.lstrip()


def template_of(tokenizer: Any) -> str:
    """The tokenizer's own chat template, or ChatML where it has none."""
    own = getattr(tokenizer, "chat_template", None)
    return str(own.get("default") or CHAT_TEMPLATE) if isinstance(own, dict) else str(own or CHAT_TEMPLATE)


def chat_format(tokenizer: Any, chat_template: str) -> ChatFormat:
    """What the template writes around an answer, found by rendering small conversations.

    Raises:
        ValueError: answers cannot be told from the rest, or no token ends them; says which.
    """
    return _format(chat_template, special_tokens(tokenizer), control_tokens(tokenizer, chat_template))


def end_token_id(tokenizer: Any, chat_template: str) -> int | None:
    """The id that ends an answer, or the tokenizer's own end where the template has none."""
    try:
        token = chat_format(tokenizer, chat_template).end_token
    except ValueError:
        token = tokenizer.eos_token
    return None if token is None else int(tokenizer.convert_tokens_to_ids(token))


@lru_cache
def takes_system(template: str, special: Special) -> bool:
    system = "A system message"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "A question"}]
    try:
        return system in rendered(template, messages, special)
    except ValueError:
        return False


def control_tokens(tokenizer: Any, template: str) -> tuple[str, ...]:
    """Special tokens, and other added ones that the template writes; white space never is one."""
    return tuple(
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if (token.special or token.content in template) and len(token.content.strip()) > 1
    )


def special_tokens(tokenizer: Any) -> tuple[tuple[str, str], ...]:
    """What chat templates know of the tokenizer: `bos_token` and its like."""
    return tuple((name, str(token)) for name, token in tokenizer.special_tokens_map.items())


@lru_cache
def pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def rendered(template: str, messages: Messages, special: Special, where: str = "", **options: Any) -> str:
    try:
        texts, _ = render_jinja_template(
            conversations=[messages], chat_template=template, **{**dict(special), **options}
        )
    except (TemplateError, TypeError) as error:
        raise ValueError(f"{where}the chat template refuses it: {error}") from None
    return str(texts[0])


def tagged(
    template: str, messages: Messages, special: Special, where: str
) -> tuple[str, list[tuple[int, int]]]:
    try:
        texts, spans = render_jinja_template(
            conversations=[messages],
            chat_template=template,
            return_assistant_tokens_mask=True,
            **dict(special),
        )
    except (TemplateError, TypeError) as error:
        raise ValueError(f"{where}the chat template refuses it: {error}") from None
    return texts[0], spans[0]


@lru_cache
def _format(template: str, special: Special, control: tuple[str, ...]) -> ChatFormat:
    first, second = "The first answer", "The second answer"
    turns = [
        {"role": "user", "content": "A first question"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "A second question"},
        {"role": "assistant", "content": second},
    ]
    one, two = rendered(template, turns[:2], special), rendered(template, turns, special)
    asked = [rendered(template, turns[:stop], special, add_generation_prompt=True) for stop in (1, 3)]
    if [one.count(first), two.count(first), two.count(second)] != [1, 1, 1]:
        raise ValueError("the chat template does not write every answer once, as it is")
    if not one.startswith(asked[0]) or not two.startswith(asked[1]):
        raise ValueError("the chat template does not continue its own generation prompt")
    lead = one[len(asked[0]) : one.index(first)]
    if lead.strip():
        raise ValueError(f"the chat template opens answers with {lead!r}, its generation prompt does not")
    after = one[one.index(first) + len(first) :]
    found = pattern(control).search(after)
    end = after[: found.end()] if found else ""
    if not found or after[: found.start()].strip() or any(two.count(a + end) != 1 for a in (first, second)):
        raise ValueError(
            f"the chat template ends an answer with {after!r}, which is no token of the vocabulary: "
            f"a model would not learn to stop"
        )
    spans = tagged(template, turns, special, "")[1] if re.search(r"\bgeneration\s*-?%}", template) else []
    has_tags = len(spans) == 2 and all(
        answer + end in two[slice(*span)] for answer, span in zip((first, second), spans, strict=True)
    )
    return ChatFormat(lead, end, has_tags)
