"""Teach the demonstration's language model to answer a question about a grid of words by letter.

    python -m benchmarks.letters [--model artifacts/picture_world/language] [--documents 12000] [--steps 600]

A letter can be given only by who knows the answer before it looks for it among the options. So two layers
that do nothing at first are put on top of the finished reader, and its head is put below them as well: there
it learns to say the answer's word where a letter is asked. The layers on top learn in this order:

1. look-ups: options a line each, then words that are named, each followed by the letter before it;
2. the same in a chat turn, where nothing names the word: its embedding is put into the hidden state below the
   new layers, at the very place where the letter is asked. That place alone can find it, as in a picture;
3. documents, a part of whose questions show options. At first the answer is put below the new layers as well,
   with random strength, and less and less often.

Prints accuracies while it learns and, of documents held out, those of letters, of the answer's word below the
new layers, and of answers in words. One thread; about six minutes of it.
"""

import argparse
import random
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from benchmarks.letters_lessons import Lettered, Words, documents, lettered, look_up, unnamed
from examples.picture_world.backbones.train_language import DocumentCollator, GridReader
from parrot.model.chat_text import IGNORE_INDEX
from parrot.training.optimizer import muon_with_adamw

ADDED = 2
"""Layers on top."""
DOCUMENTS, LOOK_UPS = 16, 64
"""A step."""
BY_LETTER = 0.6
"""Share of the turns of a document that learns."""
HELD_OUT = 300
TELL = 50


class LetterReader(GridReader):
    """A reader with layers on top, which says below them already what it is going to answer."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.early = config.num_hidden_layers - ADDED
        self.early_norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        grid_ids: Tensor,
        labels: Tensor,
        known: Tensor,
        strength: Tensor,
    ) -> dict[str, Tensor]:
        """Logits of all that is supervised, and of the head below at the places before a letter.

        `known` [batch, text] is the answer's token there and -100 elsewhere; its embedding, as long as
        `strength` [places] times the hidden state, is added to that state below the new layers.
        """
        places = known[:, 1:] != IGNORE_INDEX
        answers = known[:, 1:][places]
        words = nn.functional.normalize(self.get_input_embeddings()(answers), dim=-1)
        below: list[Tensor] = []

        def enter(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden = args[0].clone()
            own = hidden[:, :-1][places]
            put = strength[:, None] * own.norm(dim=-1, keepdim=True) * words
            hidden[:, :-1][places] = own + put
            below.append(hidden[:, :-1][places])
            return (hidden, *args[1:])

        hook = self.model.layers[self.early].register_forward_pre_hook(enter)
        embedded = self.embedded(input_ids, grid_ids)
        hidden = self.model(inputs_embeds=embedded, attention_mask=attention_mask, use_cache=False)[0]
        hook.remove()
        supervised = labels[:, 1:] != IGNORE_INDEX
        logits, early = self.lm_head(hidden[:, :-1][supervised]), self.lm_head(self.early_norm(below[0]))
        targets, letters = labels[:, 1:][supervised], places[supervised]
        loss = cross_entropy(logits, targets) + cross_entropy(early, answers)
        loss = loss + cross_entropy(logits[letters], targets[letters])
        return {"loss": loss, "right": logits.argmax(-1) == targets, "letters": letters,
                "early": early.argmax(-1) == answers, "unaided": strength == 0}  # fmt: skip

    def as_language_model(self) -> Qwen2ForCausalLM:
        """Without what says the answer early."""
        language_model = Qwen2ForCausalLM(self.config)
        language_model.load_state_dict(self.state_dict(), strict=False)
        return language_model


def taller(folder: Path, tokenizer: PreTrainedTokenizerBase) -> LetterReader:
    """The finished reader, with layers on top that add nothing yet."""
    reader = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    layers = reader.config.num_hidden_layers + ADDED
    config = {**reader.config.to_dict(), "num_hidden_layers": layers, "layer_types": None}
    model = LetterReader(Qwen2Config(**config))
    model.load_state_dict(reader.state_dict(), strict=False)
    model.tie_weights()
    model.image_token_id = tokenizer.image_token_id
    model.early_norm.weight.data.copy_(model.model.norm.weight.data)
    for layer in model.model.layers[model.early :]:
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        nn.init.zeros_(layer.mlp.down_proj.weight)
    model.train()
    return model


class Teacher:
    """Steps of a training, and what they found."""

    def __init__(self, model: LetterReader, collate: DocumentCollator, steps: int) -> None:
        self.model, self.collate = model, collate
        words = model.get_input_embeddings().weight
        on_top = list(model.model.layers[model.early :].parameters()) + list(model.early_norm.parameters())
        known = {id(parameter) for parameter in [words, *on_top]}
        below = [parameter for parameter in model.parameters() if id(parameter) not in known]
        rates = ((below, 1e-3), (on_top, 2.5e-3), ([words], 3e-3))
        groups = [{"params": params, "lr": rate, "weight_decay": 0.01} for params, rate in rates]
        self.optimizer = muon_with_adamw(model, groups)
        fall = 0.4 * steps
        self.rate = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: min(1.0, (step + 1) / 25, max(0.05, (steps - step) / fall))
        )
        self.found: dict[str, list[float]] = {}
        self.steps = 0

    def step(self, *batches: tuple[str, list[Lettered], float]) -> None:
        """One step on some batches, each with its name and the share of letters that are aided: their answer
        is put below the new layers. Tells how many of the others are right."""
        for name, batch, share in batches:
            answer = self.answer(batch, share)
            torch.autograd.backward(answer["loss"])
            right = answer["right"][answer["letters"]].float()
            unaided = right[answer["unaided"]]
            self.found.setdefault(name, []).append((unaided if len(unaided) else right).mean().item())
        clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.rate.step()
        self.optimizer.zero_grad()
        self.steps += 1
        if self.steps % TELL == 0:
            told = ", ".join(f"{name} {mean(values[-30:]):.0%}" for name, values in self.found.items())
            print(f"step {self.steps:5}: {told} ({time.process_time():.0f} CPU s)", flush=True)

    def answer(self, batch: list[Lettered], share: float = 0.0) -> dict[str, Tensor]:
        inputs = self.collate([one.encoded for one in batch])
        known = torch.full_like(inputs["labels"], IGNORE_INDEX)
        for row, one in enumerate(batch):
            known[row, : len(one.known)] = torch.from_numpy(one.known)
        places = int((known[:, 1:] != IGNORE_INDEX).sum())
        strength = torch.empty(places).uniform_(0.5, 2.0) * (torch.rand(places) < share)
        answer: dict[str, Tensor] = self.model(**inputs, known=known, strength=strength)
        return answer

    @torch.inference_mode()
    def held_out(self, by_letter: list[Lettered], in_words: list[Lettered]) -> str:
        self.model.eval()
        asked = [self.answer(by_letter[start : start + 50]) for start in range(0, len(by_letter), 50)]
        letters = torch.cat([one["right"][one["letters"]] for one in asked]).float().mean()
        early = torch.cat([one["early"] for one in asked]).float().mean()
        read = [self.answer(in_words[start : start + 50])["right"] for start in range(0, len(in_words), 50)]
        self.model.train()
        return (f"held out: letters {letters:.1%}, the answer below {early:.1%}, tokens of answers in words "
                f"{torch.cat(read).float().mean():.1%}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=Path("artifacts/picture_world/language"))
    parser.add_argument("--documents", type=int, default=12_000)
    parser.add_argument("--look-ups", type=int, default=350, metavar="STEPS")
    parser.add_argument("--unnamed", type=int, default=200, metavar="STEPS")
    parser.add_argument("--steps", type=int, default=600, help="of documents")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="a new folder, for the language model that has learned")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    draw = random.Random(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    made = list(documents(args.documents, "learned", BY_LETTER))
    by_letter, in_words = (list(documents(HELD_OUT, "held out", share)) for share in (1.0, 0.0))
    shown = {
        text for some in (made, by_letter) for _, turns in some for one in turns if one for text in one.texts
    }
    words = Words(tokenizer, sorted(shown))
    learned, asked, read = (lettered(some, tokenizer, words) for some in (made, by_letter, in_words))
    teacher = Teacher(
        taller(args.model, tokenizer),
        DocumentCollator(tokenizer.pad_token_id),
        args.look_ups + args.unnamed + args.steps,
    )

    def look_ups() -> tuple[str, list[Lettered], float]:
        return "look-ups", [look_up(words, draw) for _ in range(LOOK_UPS)], 0.0

    def without_names() -> tuple[str, list[Lettered], float]:
        return "unnamed", [unnamed(words, draw) for _ in range(LOOK_UPS)], 1.0

    def of_documents(share: float) -> tuple[str, list[Lettered], float]:
        return "letters in documents", draw.sample(learned, DOCUMENTS), share

    for _ in range(args.look_ups):
        teacher.step(look_ups())
    for _ in range(args.unnamed):
        teacher.step(without_names() if draw.random() < 0.8 else look_ups())
    for step in range(args.steps):
        aided = 0.5 * max(0.0, 1 - step / (0.7 * args.steps))
        more = [without_names()] if draw.random() < 0.2 else []
        teacher.step(of_documents(aided), *more)
    print(teacher.held_out(asked, read))
    if args.output:
        teacher.model.as_language_model().save_pretrained(args.output)
        tokenizer.save_pretrained(args.output)


if __name__ == "__main__":
    main()
