"""A published causal language model, made fit for Parrot: `<image>`, a pad token, turns that end."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, processors
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from parrot.backbones.hub import sentence
from parrot.backbones.pretrained import config_of, load
from parrot.errors import ParrotError
from parrot.files import atomic_directory
from parrot.model.chat_format import CHAT_TEMPLATE, chat_format, rendered, special_tokens
from parrot.model.chat_text import IMAGE
from parrot.model.language_models import check_language_model

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
PAD = "<pad>"
PAD_NAMES = (PAD, "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>")
"""Names under which vocabularies have a pad token without saying so."""
PROBE = "What is this? 这是什么？ ما هذا؟\n  Что это — \u00e9 👍🏽 "
BOS_FIRST = "{{ bos_token }}"
NO_THINKING = "{% set enable_thinking = enable_thinking | default(false) %}"


@dataclass
class _Fitting:
    """A language model and its tokenizer, what was added to them, and what is to be said about it."""

    model: PreTrainedModel
    tokenizer: Any
    added: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def add(self, *tokens: str) -> None:
        """Make special tokens of these; those that are it already stay as they are."""
        known = self.tokenizer.get_vocab()
        special = {t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special}
        missing = [token for token in tokens if token not in special]
        self.tokenizer.add_special_tokens(
            {
                "extra_special_tokens": [
                    AddedToken(token, normalized=False, special=True) for token in missing
                ]
            },
            replace_extra_special_tokens=False,
        )
        self.added += [token for token in missing if token not in known]


def fit_language(folder: Path, output: Path) -> list[str]:
    """Write the language model in `folder` and its tokenizer to `output`; say in sentences what was changed.

    Raises:
        ParrotError: it is no causal language model, or one that Parrot cannot use; says why.
    """
    config_of(folder, "language")
    tokenizer = load_tokenizer(folder)
    model = load(folder, AutoModelForCausalLM)
    fitting = _Fitting(model, tokenizer)
    try:
        check_language_model(model)
        rows = model.get_input_embeddings().num_embeddings
        _add_image(fitting)
        _choose_template(fitting)
        end = chat_format(tokenizer, tokenizer.chat_template).end_token
        _choose_pad(fitting)
        _stop_adding_ends(fitting)
    except ValueError as error:
        raise ParrotError(f"{folder}: {error}") from None
    _fill_rows(fitting, rows)
    _stop_at(fitting, tokenizer.convert_tokens_to_ids(end))
    if not any(folder.glob("*.safetensors")):
        fitting.said.append("weights that were published as .bin are written as .safetensors")
    fitting.said.append(f"an answer ends with {end}")
    with atomic_directory(output) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        _compare(tokenizer, load_tokenizer(partial), folder)
    return fitting.said


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a folder.

    Raises:
        ParrotError: there is none, or it would need code from the folder.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # tokenizers raises bare ones
        raise ParrotError(f"{folder}: its tokenizer cannot be read: {sentence(error)}") from None
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ParrotError(f"{folder}: its tokenizer is not a fast one (a tokenizer.json)")
    return tokenizer


def _add_image(fitting: _Fitting) -> None:
    fitting.add(IMAGE)
    if IMAGE in fitting.added:
        fitting.said.append(f"{IMAGE} was added to the vocabulary")


def _choose_template(fitting: _Fitting) -> None:
    """The model's own chat template, or ChatML where it has none; with the text's beginning exactly once."""
    tokenizer = fitting.tokenizer
    template = tokenizer.chat_template
    if isinstance(template, dict):
        if "default" not in template:
            raise ValueError(f"none of its chat templates is the default: {', '.join(template)}")
        template = template["default"]
    if template is None:
        template = CHAT_TEMPLATE
        before = len(fitting.added)
        fitting.add(TURN_START, TURN_END)
        new = " and ".join(fitting.added[before:])
        fitting.said.append(
            "it has no chat template: ChatML is used"
            + (f", and {new} were added to the vocabulary: stage two has to train them" if new else "")
        )
    tokenizer.chat_template = template
    if "enable_thinking" in template and NO_THINKING not in template:
        tokenizer.chat_template = NO_THINKING + tokenizer.chat_template
        fitting.said.append("its chat template asks for answers without thinking, unless told otherwise")
    bos = tokenizer.bos_token
    messages = [{"role": "user", "content": "A question"}]
    if (
        bos
        and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
        and not rendered(tokenizer.chat_template, messages, special_tokens(tokenizer)).startswith(bos)
    ):
        tokenizer.chat_template = BOS_FIRST + tokenizer.chat_template
        fitting.said.append(f"its chat template begins with {bos}, as its tokenizer does")
    if "strftime_now" in template:
        fitting.said.append("its chat template may write today's date: runs on other days see another text")


def _choose_pad(fitting: _Fitting) -> None:
    tokenizer = fitting.tokenizer
    if tokenizer.pad_token_id is not None:
        return
    vocabulary = tokenizer.get_vocab()
    pad = next((name for name in PAD_NAMES if name in vocabulary), PAD)
    new = pad not in vocabulary
    tokenizer.add_special_tokens({"pad_token": pad})
    fitting.added += [pad] if new else []
    fitting.said.append(f"{pad} was {'added as' if new else 'chosen as'} the pad token")


def _stop_adding_ends(fitting: _Fitting) -> None:
    """A tokenizer that ends every text would end every prompt."""
    tokenizer = fitting.tokenizer
    if tokenizer("a").input_ids[-1:] != tokenizer("a", add_special_tokens=False).input_ids[-1:]:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B")
        fitting.said.append("its tokenizer no longer ends every text with a token")


@torch.no_grad()
def _fill_rows(fitting: _Fitting, rows: int) -> None:
    """Embeddings and head get rows for all tokens.

    An added token begins as the mean of all others; those of ChatML as what begins and ends a text.
    """
    model, tokenizer = fitting.model, fitting.tokenizer
    needed = max(tokenizer.get_vocab().values()) + 1
    if needed > rows:
        model.resize_token_embeddings(needed, mean_resizing=False)
        fitting.said.append(f"embeddings and head were resized from {rows} to {needed} rows")
    like = {TURN_START: tokenizer.bos_token_id, TURN_END: tokenizer.eos_token_id}
    matrices = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    for matrix in {id(matrix): matrix for matrix in matrices}.values():
        mean = matrix[:rows].float().mean(dim=0).to(matrix.dtype)
        begins = {token: mean if (row := like.get(token)) is None else matrix[row].clone()
                  for token in fitting.added}  # fmt: skip
        for token, values in begins.items():
            matrix[tokenizer.convert_tokens_to_ids(token)] = values


def _stop_at(fitting: _Fitting, end: int) -> None:
    """Generation stops at the end of a turn, and at what the model had as its end before."""
    model, tokenizer = fitting.model, fitting.tokenizer
    published = model.generation_config
    given = (end, published.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id)
    ends = [number for ids in given for number in (ids if isinstance(ids, list) else [ids])]
    try:
        published.validate(strict=True)
    except ValueError:
        fitting.said.append("its generation settings contradict one another and were left out")
        model.generation_config = GenerationConfig(bos_token_id=tokenizer.bos_token_id)
    ends = list(dict.fromkeys(number for number in ends if number is not None))
    model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]
    model.generation_config.pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config._from_model_config = False  # else `generate` would take the ends from the config


def _compare(ours: Any, saved: Any, folder: Path) -> None:
    """What was saved must read texts as what was published does."""
    message = [{"role": "user", "content": f"{IMAGE}\n{PROBE}"}]
    texts = [PROBE, rendered(ours.chat_template, message, special_tokens(ours), add_generation_prompt=True)]
    same = saved.chat_template == ours.chat_template and saved.pad_token_id == ours.pad_token_id
    if not same or ours(texts).input_ids != saved(texts).input_ids:
        raise ParrotError(f"{folder}: its tokenizer reads texts otherwise once it is saved and loaded again")
