"""A small Qwen2 language model, trained from scratch to read a grid of words in six languages.

Its documents look like what it will get later: one position for the picture as a whole and one for
each patch, every position the *sum of the embeddings* of a few English words, then questions about
it and their answers in one of the languages. A projector then only has to learn to write such sums.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase, Qwen2Config

from examples.picture_world.backbones.documents import Document, count_documents, read_documents, texts
from examples.picture_world.backbones.encoded import DocumentCollator, Encoded, encode_documents, spans
from examples.picture_world.backbones.grid_reader import READING_LAYERS, GridReader
from examples.picture_world.backbones.stored import StoredDocuments, store
from examples.picture_world.backbones.train_tokenizer import train_tokenizer
from examples.picture_world.sections import LanguageModel
from parrot.config import RatedTraining
from parrot.errors import ParrotError
from parrot.files import write_json
from parrot.model.chat_format import CHAT_TEMPLATE
from parrot.model.chat_text import IGNORE_INDEX
from parrot.training.distributed import from_all, from_first, join_ranks, placed_by_first_rank, rank, ranks
from parrot.training.history import LogHistory
from parrot.training.trainer import ParameterGroup, TrainingRun, fit

HELD_OUT = 0.04
"""Share of the documents kept from training, on which reading is measured."""


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
    number = count_documents(data)
    held = max(1, round(HELD_OUT * number))
    if number <= held:
        raise ParrotError(f"{data}: too few documents ({number}) to train a language model on")

    join_ranks()
    folder = run.checkpoints / "documents"

    def documents(why: str, lines: range) -> Iterator[Document]:
        """Read anew each time: all of them at once would take as much memory as the training itself."""
        read = read_documents(data, language.grid, seed, lines)
        return iter(tqdm(read, f"reading documents {why}", len(lines), unit="", disable=rank() > 0))

    def tokenizer_of_all() -> PreTrainedTokenizerBase:
        tokenizer = train_tokenizer(
            texts(documents("for a tokenizer", range(number))), language.vocab_size, folder
        )
        tokenizer.chat_template = CHAT_TEMPLATE  # as chat models are published
        return tokenizer

    tokenizer = from_first(tokenizer_of_all)
    mine = range(number * rank() // ranks(), number * (rank() + 1) // ranks())
    encoded = encode_documents(documents("as tokens", mine), deepcopy(tokenizer))  # which leaves marks on it
    stored = StoredDocuments(from_all(store(encoded, folder / f"{rank()}.jsonl")))
    training_set = Subset(stored, range(number - held))
    collate = DocumentCollator(tokenizer.pad_token_id)
    lengths = stored.lengths[:-held]
    torch.manual_seed(seed)

    def learn(model: GridReader, part: str, training: RatedTraining, seed: int, before: int) -> LogHistory:
        own = replace(
            run,
            name=f"{run.name}: {part}",
            checkpoints=run.checkpoints / part,
            workers=0,  # to pass a batch on takes longer than to make it
            report=lambda metrics, step: run.report(metrics, before + step),
        )
        groups = _parameter_groups(model, training.learning_rate, language.embedding_learning_rate)
        history = fit(model, groups, training_set, collate, training, own, seed=seed, lengths=lengths)
        rows = [row | {"step": before + row["step"]} for row in history.rows]
        return LogHistory(rows, before + history.steps)

    reader = GridReader(_config(language, tokenizer))
    reader.image_token_id = tokenizer.image_token_id
    read = learn(reader, "reading", language.training, seed, before=0)
    model = reader.taller()
    letters = language.training.model_copy(update=dict(language.letters))
    lettered = learn(model, "letters", letters, seed + 1, before=read.steps)
    held_out = Subset(stored, range(number - held, number))
    measured: dict[str, Any] = from_first(lambda: _measure(model, held_out, collate))
    with placed_by_first_rank(output) as partial:
        if partial:
            tokenizer.save_pretrained(partial)
            model.as_language_model().save_pretrained(partial)
            LogHistory([*read.rows, *lettered.rows], lettered.steps).write_csv(curve)
            write_json(metrics, measured)
    return measured


def _config(language: LanguageModel, tokenizer: PreTrainedTokenizerBase) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=language.hidden_size,
        intermediate_size=language.intermediate_size,
        num_hidden_layers=READING_LAYERS,
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


def _parameter_groups(model: GridReader, rate: float, rate_of_words: float) -> list[ParameterGroup]:
    words = model.get_input_embeddings().weight
    others = [parameter for parameter in model.parameters() if parameter is not words]
    return [ParameterGroup(others, rate), ParameterGroup([words], rate_of_words)]


@torch.inference_mode()
def _measure(model: GridReader, documents: Subset[Encoded], collate: DocumentCollator) -> dict[str, Any]:
    """Of answers in words and of letters, in held-out documents: the share with every token the likeliest."""
    model.eval()
    answered: dict[str, list[tuple[str, bool]]] = {"reading": [], "letters": []}
    for start in range(0, len(documents), 50):
        batch = [documents[i] for i in range(start, min(start + 50, len(documents)))]
        inputs = collate(batch)
        targets = inputs["labels"][:, 1:]
        supervised = targets != IGNORE_INDEX
        correct = torch.zeros_like(targets, dtype=torch.bool)
        correct[supervised] = model(**inputs)["logits"].argmax(-1) == targets[supervised]
        for row, document in enumerate(batch):
            letters = {turn.asked for turn in document.by_letter}
            for answer in spans(supervised[row].tolist()):
                kind = "letters" if answer.start in letters else "reading"
                answered[kind].append((document.language, bool(correct[row, answer].all())))
    return {kind: _shares(answers) for kind, answers in answered.items() if answers}


def _shares(answers: list[tuple[str, bool]]) -> dict[str, float]:
    """The share that is right, per language and overall."""
    languages = sorted({language for language, _ in answers})
    right = {one: [correct for language, correct in answers if language == one] for one in languages}
    right["overall"] = [correct for _, correct in answers]
    return {name: round(sum(flags) / len(flags), 4) for name, flags in right.items()}
