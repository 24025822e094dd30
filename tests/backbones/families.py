"""Small random language models with the layouts, tokenizers and chat templates of published families."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

TEXTS = [
    "What is this? It is a red box, a green ball. You are a helpful assistant. The first question.",
    "user assistant model system INST SYS think A first answer, the second answer, again and again.",
] * 3
BYTES = [f"<0x{number:02X}>" for number in range(256)]

LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)
LLAMA_3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_3 = (
    "{%- set ns = namespace(last=-1) -%}{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}"
    "{%- for message in messages -%}{%- set content = message.content -%}"
    "{%- if message.role == 'assistant' -%}{%- set reasoning = '' -%}"
    "{%- if '</think>' in content -%}"
    "{%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}{%- endif -%}"
    "{%- if loop.index0 > ns.last -%}"
    "{{- '<|im_start|>assistant\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + "
    "content.lstrip('\\n') -}}"
    "{%- else -%}{{- '<|im_start|>assistant\\n' + content -}}{%- endif -%}{{- '<|im_end|>\\n' -}}"
    "{%- else -%}{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' -}}{%- endif -%}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}{%- endif -%}"
)

SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.2,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """How a family's models are published."""

    tokenizer: Callable[["Family"], Tokenizer]
    model: Any
    config: Any
    template: str | None
    special: dict[str, str]
    """Names of transformers, such as bos_token, and what they are."""
    others: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    """Added tokens that are not special."""
    end: str = "<|im_end|>"
    bos_added: bool = False
    system: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> list[str]:
        return list(dict.fromkeys([*self.special.values(), *self.others]))


def byte_level(family: Family) -> Tokenizer:
    """Byte-level BPE, as of GPT-2 and all that came after."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(split, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer


def sentence_pieces(family: Family) -> Tokenizer:
    """SentencePiece's BPE with bytes for what it does not know; its control tokens are in the vocabulary."""
    trained = Tokenizer(models.BPE())
    prepend = [normalizers.Prepend("▁")] if family.model is not GemmaForCausalLM else []
    normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    trained.normalizer = normalizer
    trained.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=150, show_progress=False))
    learned = json.loads(trained.to_str())["model"]
    names = list(dict.fromkeys([*family.tokens, *BYTES, *learned["vocab"]]))
    tokenizer = Tokenizer(
        models.BPE(
            {name: number for number, name in enumerate(names)},
            [tuple(pair) for pair in learned["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *([decoders.Strip(" ", 1, 0)] if prepend else []),
        ]
    )
    return tokenizer


FAMILIES: dict[str, Family] = {
    "llama2": Family(
        sentence_pieces, LlamaForCausalLM, LlamaConfig, LLAMA_2,
        {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}, end=" </s>", bos_added=True,
    ),
    "llama3": Family(
        byte_level, LlamaForCausalLM, LlamaConfig, LLAMA_3,
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|finetune_right_pad_id|>"),
        end="<|eot_id|>", bos_added=True,
    ),
    "mistral": Family(
        sentence_pieces, MistralForCausalLM, MistralConfig, MISTRAL,
        {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}, ("[INST]", "[/INST]"),
        end="</s>", bos_added=True, system=False,
    ),
    "gemma": Family(
        sentence_pieces, GemmaForCausalLM, GemmaConfig, GEMMA,
        {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"},
        ("<start_of_turn>", "<end_of_turn>"), end="<end_of_turn>", bos_added=True, system=False,
        options={"head_dim": 8, "tie_word_embeddings": True},
    ),
    "qwen2": Family(
        byte_level, Qwen2ForCausalLM, Qwen2Config, CHATML,
        {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}, ("<|im_start|>",),
        options={"tie_word_embeddings": True},
    ),
    "qwen3": Family(
        byte_level, Qwen3ForCausalLM, Qwen3Config, QWEN_3,
        {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}, ("<|im_start|>",), ("<think>", "</think>"),
        options={"head_dim": 8},
    ),
    "smollm2": Family(
        byte_level, LlamaForCausalLM, LlamaConfig, CHATML,
        {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>",
         "unk_token": "<|endoftext|>"},
        options={"tie_word_embeddings": True},
    ),
    "base": Family(
        sentence_pieces, LlamaForCausalLM, LlamaConfig, None,
        {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}, bos_added=True,
    ),
}  # fmt: skip


def publish(name: str, folder: Path, dtype: torch.dtype = torch.float32, **saving: Any) -> Path:
    """Write a random model of the family to `folder`; `saving` as for `save_pretrained`."""
    family = FAMILIES[name]
    backend = family.tokenizer(family)
    backend.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in family.tokens])
    backend.add_tokens([AddedToken(t, normalized=False) for t in family.plain])
    if family.bos_added:
        bos = family.special["bos_token"]
        backend.post_processor = TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A {bos} $B",
            special_tokens=[(bos, backend.token_to_id(bos))],
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, **family.special, extra_special_tokens=list(family.others)
    )
    if family.template:
        tokenizer.chat_template = family.template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    ids = {
        f"{key}_id": tokenizer.convert_tokens_to_ids(token)
        for key, token in family.special.items()
        if key != "unk_token"
    }
    none = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    options = {**SIZES, **none, **ids, **family.options, "vocab_size": len(tokenizer)}
    family.model(family.config(**options)).to(dtype).save_pretrained(folder, **saving)
    return folder


def as_bin(folder: Path) -> None:
    """As a publisher who pickles has the weights in `folder`."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
