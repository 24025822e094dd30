"""Conversations to text and ids, for any chat template, with no control token but the template's own.

What people write is text. Where it holds the string of a control token (`<|im_end|>`, `</s>`,
`<image>` in a part that is text), each character of that string is set off by `BREAK`, a
noncharacter of Unicode that no text may hold. The tokenizer then does not find the control token, and
removes `BREAK` itself (`guard`): the string becomes the tokens that it has as ordinary text. All other
texts, nearly every one, are rendered and encoded as if this file did not exist.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import normalizers, pre_tokenizers

from .chat_format import (
    ChatFormat,
    Messages,
    Special,
    chat_format,
    control_tokens,
    pattern,
    rendered,
    special_tokens,
    tagged,
    takes_system,
    template_of,
)

IGNORE_INDEX = -100
IMAGE = "<image>"
BREAK, _MARK = "\ufdd0", "\ufdd1"
_IMAGE_PARTS = ("image", "image_url")


def guard(tokenizer: Any) -> None:
    """Make the tokenizer remove `BREAK`, once; no other text is encoded otherwise than before.

    Raises:
        ValueError: it is not a fast tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(f"tokenizer: {type(tokenizer).__name__} is not a fast one (a tokenizer.json)")
    backend.encode_special_tokens = False  # an earlier call with `split_special_tokens` leaves it behind
    removed, kept = backend.encode_batch([f"{BREAK}a", "a"], add_special_tokens=False)
    if removed.ids == kept.ids and not _leaks(tokenizer):
        return
    normalizer, splitter = backend.normalizer, backend.pre_tokenizer
    removal = normalizers.Replace(BREAK, "")
    backend.normalizer = normalizers.Sequence([removal, normalizer]) if normalizer else removal
    if _leaks(tokenizer):  # a vocabulary that joins them again, or looks for them after normalizing
        backend.normalizer = normalizer
        split = pre_tokenizers.Split(BREAK, "removed")
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, splitter]) if splitter else split


def as_text(tokenizer: Any, chat_template: str, text: str) -> str:
    """`text` with every control token in it broken, `<image>` too: for a tokenizer that is guarded."""
    return _broken(text.replace(_MARK, ""), pattern(control_tokens(tokenizer, chat_template)))


def render(
    tokenizer: Any, conversations: Sequence[Messages], chat_template: str, **options: Any
) -> list[str]:
    """Each conversation as the text to encode, without special tokens added, by a guarded tokenizer.

    Args:
        conversations: messages, each `{"role": …, "content": …}`. Content is a string with an `<image>`
            where a picture stands, or a list of parts: there only parts of type "image" are pictures.
        options: of the template, such as `add_generation_prompt`.

    Raises:
        ValueError: the template refuses a conversation; names it.
    """
    special = special_tokens(tokenizer)
    return [
        rendered(chat_template, messages, special, f"conversation {index}: ", **options)
        for index, messages in enumerate(as_strings(tokenizer, conversations, chat_template))
    ]


def prompts_of(processor: Any, conversations: Sequence[Messages]) -> list[str]:
    """Conversations up to where the next answer begins, for any processor of transformers; see `render`."""
    guard(processor.tokenizer)
    return render(processor.tokenizer, conversations, _template_of(processor), add_generation_prompt=True)


def answer_ids(processor: Any, texts: Sequence[str], *, ended: bool) -> list[list[int]]:
    """Ids of each text as the model writes it after a prompt; with `ended` also the token that ends it.

    A template that cannot be learned from (another processor's) has the text alone, and the tokenizer's end.
    """
    tokenizer, template = processor.tokenizer, _template_of(processor)
    try:
        chats = [
            [{"role": "user", "content": "A question"}, {"role": "assistant", "content": text}]
            for text in texts
        ]
        rows = [
            ids[labels != IGNORE_INDEX].tolist() for ids, labels in encode_texts(tokenizer, chats, template)
        ]
        return rows if ended else [row[:-1] for row in rows]
    except ValueError:
        guard(tokenizer)
        broken = [as_text(tokenizer, template, text) for text in texts]
        end = [tokenizer.eos_token_id] if ended else []
        return [ids + end for ids in tokenizer(broken, add_special_tokens=False).input_ids]


def without_images(text: str) -> str:
    """`text` in which `<image>` is what was written, not a place for a picture."""
    return text.replace(IMAGE, _broken(IMAGE, pattern((IMAGE,))))


def as_strings(
    tokenizer: Any, conversations: Sequence[Messages], chat_template: str
) -> list[list[dict[str, Any]]]:
    """The conversations with every content a string in which only pictures are control tokens.

    Where the template takes no system message, its text goes in front of the first user turn.
    """
    control = control_tokens(tokenizer, chat_template)
    system_taken = takes_system(chat_template, special_tokens(tokenizer))
    prepared = [
        [{**message, "content": _string(message.get("content"), control)} for message in messages]
        for messages in conversations
    ]
    return prepared if system_taken else [_without_system(messages) for messages in prepared]


def encode_texts(
    tokenizer: Any, conversations: Sequence[Messages], chat_template: str | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids and labels [T] of each conversation, labels -100 outside the answers; an image is one `<image>`.

    Learned is each answer, with the token that ends it. A token that holds the end of a role header as
    well as the beginning of an answer (one that starts with a newline) is not learned: after a generation
    prompt the model is never asked for it.

    Args:
        tokenizer: a fast tokenizer.
        conversations: see `render`.
        chat_template: the tokenizer's own if not given, or ChatML where it has none.

    Raises:
        ValueError: see `chat_format` and `render`.
    """
    answered = texts_with_answers(tokenizer, conversations, chat_template or template_of(tokenizer))
    guard(tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # an earlier call of the tokenizer may have left either behind
    backend.no_padding()
    encodings = backend.encode_batch([text for text, _ in answered], add_special_tokens=False)
    rows = []
    for encoding, (_, spans) in zip(encodings, answered, strict=True):
        ids = np.asarray(encoding.ids)
        starts = np.asarray([start for start, _ in encoding.offsets])
        # The spans' bounds are in order: after an odd number of them a token is within a span.
        is_answer = np.searchsorted(np.asarray(spans).reshape(-1), starts, side="right") % 2 == 1
        rows.append((ids, np.where(is_answer, ids, IGNORE_INDEX)))
    return rows


def texts_with_answers(
    tokenizer: Any, conversations: Sequence[Messages], chat_template: str
) -> list[tuple[str, list[tuple[int, int]]]]:
    """Each conversation as `encode_texts` encodes it, and where in it the model's own words begin and end.

    Raises:
        ValueError: see `chat_format` and `render`.
    """
    form, special = chat_format(tokenizer, chat_template), special_tokens(tokenizer)
    return [
        _answers(chat_template, messages, special, form, f"conversation {index}: ")
        for index, messages in enumerate(as_strings(tokenizer, conversations, chat_template))
    ]


def _template_of(processor: Any) -> str:
    own = getattr(processor, "chat_template", None)
    return own if isinstance(own, str) else template_of(processor.tokenizer)


def _answers(
    template: str, messages: list[dict[str, Any]], special: Special, form: ChatFormat, where: str
) -> tuple[str, list[tuple[int, int]]]:
    """The text of a conversation, and where in it the model's own words begin and end."""
    if form.tagged:
        return tagged(template, messages, special, where)
    text = rendered(template, messages, special, where)
    # Marks around the answers show where they are. In a template that trims them they go inside.
    for inside in (False, True):
        marked = [
            {**message, "content": _marked(message["content"], inside)}
            if message["role"] == "assistant"
            else message
            for message in messages
        ]
        pieces = rendered(template, marked, special, where).split(_MARK)
        if "".join(pieces) == text:
            break
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    if "".join(pieces) != text or len(pieces) != 2 * len(answers) + 1:
        raise ValueError(f"{where}the chat template changes its answers, they cannot be told from the rest")
    spans = []
    bounds = np.cumsum([len(piece) for piece in pieces]).tolist()
    for start, stop, answer in zip(bounds[0:-1:2], bounds[1::2], answers, strict=True):
        begins = start - len(form.lead) if text.endswith(form.lead, 0, start) else start
        after = answer[len(answer.rstrip()) :] if inside else ""
        ends = next((end for end in (after + form.end, form.end) if text.startswith(end, stop)), "")
        spans.append((begins, stop + len(ends)))
    return text, spans


def _marked(content: str, inside: bool) -> str:
    core = content.strip() if inside else content
    start = content.index(core)
    before, after = content[:start], content[start + len(core) :]
    return f"{before}{_MARK}{core}{_MARK}{after}"


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(messages) < 2 or [message["role"] for message in messages[:2]] != ["system", "user"]:
        return messages
    system, user, *others = messages
    return [{**user, "content": f"{system['content']}\n\n{user['content']}"}, *others]


def _string(content: Any, control: tuple[str, ...]) -> str:
    """A message's content, pictures as `<image>` and no other control token."""
    if content is None:
        return ""
    if isinstance(content, str):
        pictures = tuple(token for token in control if token != IMAGE)
        return _broken(content.replace(_MARK, ""), pattern(pictures))
    return _broken("".join(_parts(content)), pattern(control)).replace(_MARK, IMAGE)


def _parts(content: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Texts, and a mark for each picture; directly before a word it gets a line of its own."""
    for part, following in zip(content, [*content[1:], None], strict=True):
        if part["type"] in _IMAGE_PARTS:
            yield _MARK
            text = following["text"] if following and following["type"] == "text" else ""
            if text and text[0] not in " \n":
                yield "\n"
        elif part["type"] == "text":
            yield part["text"].replace(_MARK, "")
        else:
            raise ValueError(f"content of type '{part['type']}' is not read: only text and images are")


def _broken(text: str, control: re.Pattern[str]) -> str:
    return control.sub(lambda found: BREAK + BREAK.join(found[0]) + BREAK, text)


def _leaks(tokenizer: Any) -> bool:
    """Whether a broken control token still becomes its id."""
    added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    whole = re.compile(".+", re.DOTALL)
    broken = [_broken(content, whole) for content in added]
    encodings = tokenizer.backend_tokenizer.encode_batch(broken, add_special_tokens=False)
    return any(
        number in encoding.ids and number != tokenizer.unk_token_id
        for number, encoding in zip(added.values(), encodings, strict=True)
    )
