"""How soon a small language model finds an option by its word and gives the letter before it.

    python -m benchmarks.lookups [--form close|lines|both] [--options 4 | --options 2 3 4 5 6] [--rate 3e-3]

Strings of made-up words, as docs/results.md describes them: options, then words that are named, each followed
by its letter; only the letters are learned. Prints the accuracy of the first letter that is asked (in later
ones an earlier one may be repeated), the mean of the last steps, and CPU seconds. Whoever wants the
demonstration to answer by letter begins here: it takes a minute.
"""

import argparse
import time
from statistics import mean

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from transformers import Qwen2Config, Qwen2ForCausalLM

from parrot.model.chat_text import IGNORE_INDEX
from parrot.training.optimizer import muon_with_adamw

FULL_STOP, LINE_BREAK, FIRST_LETTER, FIRST_WORD = 1, 2, 3, 10
BATCH, ASKED = 64, 5
WARMUP_STEPS, PRINT_STEPS = 25, 50
WIDTH = 96
FORMS = {"close": ["close"], "lines": ["lines"], "both": ["close", "lines"]}
"""`close`: A red B blue. `lines`: "A. red" and "B. blue", a line each. `both`: in turns."""


def strings(generator: torch.Generator, form: str, options: int, words: int) -> tuple[Tensor, Tensor]:
    """Ids and labels [batch, length]; labels are -100 but at the letters that are asked."""
    drawn = torch.stack([torch.randperm(words, generator=generator)[:options] for _ in range(BATCH)])
    named = drawn + FIRST_WORD
    ids: list[Tensor] = []
    learned: list[bool] = []

    def put(tokens: Tensor | int, learn: bool = False) -> None:
        ids.append(tokens if isinstance(tokens, Tensor) else torch.full((BATCH,), tokens))
        learned.append(learn)

    on_lines = form == "lines"
    for option in range(options):
        put(FIRST_LETTER + option)
        if on_lines:
            put(FULL_STOP)
        put(named[:, option])
        if on_lines:
            put(LINE_BREAK)
    for _ in range(ASKED):
        asked = torch.randint(options, (BATCH,), generator=generator)
        put(named[torch.arange(BATCH), asked])
        if on_lines:
            put(LINE_BREAK)
        put(FIRST_LETTER + asked, learn=True)
        if on_lines:
            put(LINE_BREAK)
    input_ids = torch.stack(ids, dim=1)
    return input_ids, input_ids.masked_fill(~torch.tensor(learned), IGNORE_INDEX)


def small_model(words: int, layers: int) -> Qwen2ForCausalLM:
    """As the demonstration's, with a word for each token."""
    config = Qwen2Config(
        vocab_size=FIRST_WORD + words, hidden_size=WIDTH, intermediate_size=256, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=WIDTH**-0.5, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6}, bos_token_id=None,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).train()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--form", choices=FORMS, default="both")
    parser.add_argument("--options", type=int, nargs="+", default=[4], help="how many; one number is drawn")
    parser.add_argument("--words", type=int, default=480)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rate", type=float, default=3e-3, help="of Muon")
    parser.add_argument("--embedding-rate", type=float, default=4.5e-3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    model = small_model(args.words, args.layers)
    words = model.get_input_embeddings().weight
    others = [parameter for parameter in model.parameters() if parameter is not words]
    rates = ((others, args.rate), ([words], args.embedding_rate))
    optimizer = muon_with_adamw(
        model, [{"params": params, "lr": rate, "weight_decay": 0.01} for params, rate in rates]
    )
    warm_up = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP_STEPS))
    forms = FORMS[args.form]
    accuracy: dict[str, list[float]] = {form: [] for form in forms}
    for step in range(args.steps):
        form = forms[step % len(forms)]
        options = args.options[int(torch.randint(len(args.options), (), generator=generator))]
        input_ids, labels = strings(generator, form, options, args.words)
        hidden = model.model(input_ids=input_ids).last_hidden_state[:, :-1]
        learned = labels[:, 1:] != IGNORE_INDEX
        logits, targets = model.lm_head(hidden[learned]), labels[:, 1:][learned]
        torch.autograd.backward(cross_entropy(logits, targets))
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        warm_up.step()
        optimizer.zero_grad()
        first = (logits.argmax(dim=-1) == targets).view(BATCH, ASKED)[:, 0]
        accuracy[form].append(first.float().mean().item())
        if (step + 1) % PRINT_STEPS == 0:
            found = ", ".join(f"{form} {mean(values[-20:]):.0%}" for form, values in accuracy.items())
            print(f"step {step + 1:5}: {found} ({time.process_time():.0f} CPU s)", flush=True)


if __name__ == "__main__":
    main()
