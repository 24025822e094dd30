"""A small Qwen2 language model, trained from scratch to read a grid of words in six languages.

Its documents look like what it will get later: one position for the picture as a whole and one for
each patch, every position the *sum of the embeddings* of a few English words, then questions about
it and their answers in one of the languages. A projector then only has to learn to write such sums.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM
from transformers.utils.chat_template_utils import render_jinja_template

from examples.picture_world.backbones.regions import Region, parse_regions, words_by_position
from examples.picture_world.backbones.train_tokenizer import IMAGE, train_tokenizer
from examples.picture_world.sections import LanguageModel
from parrot.errors import ParrotError
from parrot.files import atomic_directory, write_json
from parrot.model.chat_format import CHAT_TEMPLATE
from parrot.model.chat_text import IGNORE_INDEX, encode_texts
from parrot.training.trainer import ParameterGroup, TrainingRun, fit

HELD_OUT = 0.04
"""Share of the documents kept from training, on which reading is measured."""
KEEP = 0.8
"""Share of the patches of a region whose words are kept: the tower will not be perfect either."""


@dataclass(frozen=True)
class Document:
    """A grid of words and the conversation about it."""

    language: str
    positions: list[list[str]]
    messages: list[dict[str, str]]


@dataclass(frozen=True)
class Encoded:
    """A document as ids [text], labels [text] (-100 outside answers), grid [positions, words of each]."""

    language: str
    input_ids: np.ndarray
    labels: np.ndarray
    grid: np.ndarray
    """Padded with the pad token."""


class GridReader(Qwen2ForCausalLM):
    """A causal language model whose image positions are sums of word embeddings."""

    image_token_id: int

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor, grid_ids: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Loss and logits of the answers only.

        `input_ids`, `attention_mask`, `labels` [batch, text]; `grid_ids` [batch, positions, words],
        padded with the pad token; `logits` [answer tokens of the batch, vocabulary].
        """
        hidden = self.model(
            inputs_embeds=self.embedded(input_ids, grid_ids), attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        targets = labels[:, 1:]
        supervised = targets != IGNORE_INDEX
        logits = self.lm_head(hidden[:, :-1][supervised])
        return {"loss": cross_entropy(logits, targets[supervised]), "logits": logits}

    def embedded(self, input_ids: Tensor, grid_ids: Tensor) -> Tensor:
        """[batch, text, width]: of a token its embedding, of a grid's position the sum of its words'."""
        embed = self.get_input_embeddings()
        words = embed(grid_ids) * (grid_ids != self.config.pad_token_id).unsqueeze(-1)
        is_grid = (input_ids == self.image_token_id).unsqueeze(-1)
        embedded: Tensor = embed(input_ids).masked_scatter(is_grid, words.sum(dim=2))
        return embedded

    def as_language_model(self) -> Qwen2ForCausalLM:
        """The same weights without the grid."""
        language_model = Qwen2ForCausalLM(self.config)
        language_model.load_state_dict(self.state_dict())
        return language_model


def train_language(
    language: LanguageModel,
    seed: int,
    *,
    data: Path,
    output: Path,
    curve: Path,
    metrics: Path,
    run: TrainingRun,
) -> dict[str, Any]:
    """Train a small language model and its tokenizer, written as a Hub-style folder.

    Args:
        data: JSON lines with reading documents
        output: folder to write: the language model and its tokenizer
        curve: CSV to write: the loss as it fell
        metrics: JSON to write: how well it reads

    Returns:
        What `metrics` holds.

    Raises:
        ParrotError: a document cannot be read, or they are too few.
    """
    documents = list(tqdm(_read_documents(data, language.grid, seed), desc="reading documents", unit=""))
    held = max(1, round(HELD_OUT * len(documents)))
    if len(documents) <= held:
        raise ParrotError(f"{data}: too few documents ({len(documents)}) to train a language model on")
    with atomic_directory(output) as partial:
        tokenizer = train_tokenizer(_texts(documents), language.vocab_size, partial)
        tokenizer.chat_template = CHAT_TEMPLATE  # as chat models are published
        tokenizer.save_pretrained(partial)
        torch.manual_seed(seed)
        model = GridReader(_config(language, tokenizer))
        model.image_token_id = tokenizer.image_token_id
        encoded = list(encode_documents(documents, tokenizer))
        training_set, held_out = encoded[:-held], encoded[-held:]
        collate = DocumentCollator(tokenizer.pad_token_id)
        history = fit(
            model,
            _parameter_groups(model, language),
            training_set,
            collate,
            language.training,
            run,
            seed=seed,
            lengths=[len(document.input_ids) for document in training_set],
        )
        measured = _measure(model, held_out, collate)
        model.as_language_model().save_pretrained(partial)
    history.write_csv(curve)
    write_json(metrics, measured)
    return measured


def _config(language: LanguageModel, tokenizer: PreTrainedTokenizerBase) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=language.hidden_size,
        intermediate_size=language.intermediate_size,
        num_hidden_layers=language.num_hidden_layers,
        num_attention_heads=language.num_attention_heads,
        num_key_value_heads=language.num_key_value_heads,
        max_position_embeddings=2048,
        initializer_range=language.hidden_size**-0.5,  # transformers' 0.02 is made for wide models
        rope_parameters={"rope_type": "default", "rope_theta": language.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _parameter_groups(model: GridReader, language: LanguageModel) -> list[ParameterGroup]:
    words = model.get_input_embeddings().weight
    others = [parameter for parameter in model.parameters() if parameter is not words]
    return [
        ParameterGroup(others, language.training.learning_rate),
        ParameterGroup([words], language.embedding_learning_rate),
    ]


def _read_documents(file: Path, grid: int, seed: int) -> Iterator[Document]:
    """The documents of a JSON-lines file; the grid stands at the start of the first user turn."""
    try:
        lines = file.open(encoding="utf-8")
    except FileNotFoundError:
        raise ParrotError(f"{file}: missing; `parrot data` fetches or makes it") from None
    roles = {"human": "user", "gpt": "assistant"}
    with lines:
        for number, line in enumerate(lines, start=1):
            where = f"{file}: line {number}"
            try:
                item = json.loads(line)
                messages = [
                    {"role": roles[turn["from"]], "content": turn["value"]} for turn in item["conversations"]
                ]
                identity, language, regions = item["id"], item["language"], item["regions"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ParrotError(
                    f"{where}: not a reading document ({type(error).__name__}: {error})"
                ) from None
            draw = random.Random(f"{seed}-{identity}")
            positions = thinned(parse_regions(regions, where), grid, draw)
            messages[0]["content"] = IMAGE * len(positions) + "\n" + messages[0]["content"]
            yield Document(language, positions, messages)


def thinned(regions: list[Region], grid: int, draw: random.Random) -> list[list[str]]:
    """Words of each position; a region keeps `KEEP` of its patches, but never none."""
    positions = words_by_position(regions, grid)
    kept: list[list[str]] = [list(positions[0][0])] + [[] for _ in positions[1:]]
    for region in regions[1:]:
        patches = [i for i, phrases in enumerate(positions) if i > 0 and region.words in phrases]
        chosen = [patch for patch in patches if draw.random() < KEEP] or draw.sample(patches, 1)
        for patch in chosen:
            kept[patch].extend(region.words)
    return [words or ["."] for words in kept]


def _texts(documents: list[Document]) -> Iterator[str]:
    """What the tokenizer is trained on: conversations as the model sees them, and the words of the grids."""
    for document in documents:
        frame = _frame(tuple(message["role"] for message in document.messages))
        contents = [message["content"] for message in document.messages]
        yield "".join(part for pair in zip(frame, [*contents, ""], strict=True) for part in pair)
    for document in documents:
        yield " " + " ".join(word for words in document.positions for word in words)


@cache
def _frame(roles: tuple[str, ...]) -> list[str]:
    """What the chat template writes around the contents of messages with these roles."""
    messages = [{"role": role, "content": "\0"} for role in roles]
    texts, _ = render_jinja_template(conversations=[messages], chat_template=CHAT_TEMPLATE)
    return str(texts[0]).split("\0")


def encode_documents(documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase) -> Iterator[Encoded]:
    words = sorted({word for document in documents for position in document.positions for word in position})
    ids = dict(zip(words, tokenizer([" " + word for word in words]).input_ids, strict=True))
    texts = encode_texts(tokenizer, [document.messages for document in documents])
    for document, (input_ids, labels) in zip(documents, texts, strict=True):
        rows = [[token for word in position for token in ids[word]] for position in document.positions]
        grid = np.full((len(rows), max(map(len, rows))), tokenizer.pad_token_id)
        for place, row in zip(grid, rows, strict=True):
            place[: len(row)] = row
        yield Encoded(document.language, input_ids, labels, grid)


class DocumentCollator:
    def __init__(self, pad_token_id: int) -> None:
        self._pad = pad_token_id

    def __call__(self, documents: list[Encoded]) -> dict[str, Tensor]:
        input_ids = [torch.from_numpy(document.input_ids) for document in documents]
        labels = [torch.from_numpy(document.labels) for document in documents]
        positions = len(documents[0].grid)
        widest = max(document.grid.shape[1] for document in documents)
        grid_ids = torch.full((len(documents), positions, widest), self._pad)
        for row, document in enumerate(documents):
            grid_ids[row, :, : document.grid.shape[1]] = torch.from_numpy(document.grid)
        return {
            "input_ids": pad_sequence(input_ids, batch_first=True, padding_value=self._pad),
            "attention_mask": pad_sequence([torch.ones_like(ids) for ids in input_ids], batch_first=True),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORE_INDEX),
            "grid_ids": grid_ids,
        }


@torch.inference_mode()
def _measure(model: GridReader, documents: list[Encoded], collate: DocumentCollator) -> dict[str, Any]:
    """Share of answers whose every token is the likeliest, per language, in documents held out."""
    model.eval()
    right: dict[str, int] = {}
    total: dict[str, int] = {}
    for start in range(0, len(documents), 50):
        batch = documents[start : start + 50]
        inputs = collate(batch)
        targets = inputs["labels"][:, 1:]
        supervised = targets != IGNORE_INDEX
        correct = torch.zeros_like(targets, dtype=torch.bool)
        correct[supervised] = model(**inputs)["logits"].argmax(-1) == targets[supervised]
        for row, document in enumerate(batch):
            for answer in spans(supervised[row].tolist()):
                total[document.language] = total.get(document.language, 0) + 1
                right[document.language] = right.get(document.language, 0) + int(correct[row, answer].all())
    reading = {language: round(right[language] / total[language], 4) for language in sorted(total)}
    return {"reading": reading | {"overall": round(sum(right.values()) / sum(total.values()), 4)}}


def spans(flags: list[bool]) -> Iterator[slice]:
    """The runs of True."""
    start = None
    for i, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = i
        elif not flag and start is not None:
            yield slice(start, i)
            start = None
